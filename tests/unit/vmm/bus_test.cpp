#include "vmm/bus.h"

#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace understudy {
namespace {

class Recorder final : public Device {
 public:
  explicit Recorder(std::string id) : id_{std::move(id)} {}
  std::string_view id() const override { return id_; }
  void read(std::uint64_t offset, MutableBytes out) override {
    offsets.push_back(offset);
    std::ranges::fill(out, std::byte{0x5A});
  }
  void write(std::uint64_t offset, ConstBytes in) override {
    offsets.push_back(offset);
    written.insert(written.end(), in.begin(), in.end());
  }
  Result<void> quiesce() override { return {}; }
  void resume() override {}
  void save(schema::DeviceState::Builder) const override {}
  Result<void> check(schema::DeviceState::Reader) const override { return {}; }
  Result<void> restore(schema::DeviceState::Reader) override { return {}; }

  std::vector<std::uint64_t> offsets;
  std::vector<std::byte> written;

 private:
  std::string id_;
};

std::uint32_t read_word(Bus& bus, std::uint64_t address) {
  std::uint32_t value = 0;
  bus.read(address, std::as_writable_bytes(std::span{&value, 1}));
  return value;
}

TEST(Bus, RoutesByAddressAndGivesTheOffset) {
  Recorder low{"low"};
  Recorder high{"high"};
  Bus bus;
  ASSERT_TRUE(bus.add(0x2000, 0x100, high));
  ASSERT_TRUE(bus.add(0x1000, 0x100, low));
  EXPECT_EQ(read_word(bus, 0x1004), 0x5A5A5A5Au);
  const std::byte value{7};
  bus.write(0x20FF, {&value, 1});
  EXPECT_EQ(low.offsets, (std::vector<std::uint64_t>{4}));
  EXPECT_EQ(high.offsets, (std::vector<std::uint64_t>{0xFF}));
  EXPECT_EQ(high.written, (std::vector<std::byte>{value}));
  EXPECT_EQ(bus.unclaimed_reads() + bus.unclaimed_writes(), 0u);
}

TEST(Bus, UnclaimedReadsAreOnesAndWritesVanishAndBothCount) {
  Recorder device{"device"};
  Bus bus;
  EXPECT_EQ(read_word(bus, 0x1000), 0xFFFFFFFFu);
  ASSERT_TRUE(bus.add(0x1000, 0x10, device));
  const std::vector<std::byte> bytes(4);
  for (const std::uint64_t outside :
       {std::uint64_t{0}, std::uint64_t{0xFFF}, std::uint64_t{0x100D}, std::uint64_t{0x1010}, std::numeric_limits<std::uint64_t>::max()}) {
    EXPECT_EQ(read_word(bus, outside), 0xFFFFFFFFu) << outside;
    bus.write(outside, bytes);
  }
  EXPECT_TRUE(device.offsets.empty());
  EXPECT_EQ(bus.unclaimed_reads(), 6u);
  EXPECT_EQ(bus.unclaimed_writes(), 5u);
}

TEST(Bus, RefusesRangesThatOverlapOrAreEmptyOrWrap) {
  constexpr std::uint64_t kTop = std::numeric_limits<std::uint64_t>::max();
  const struct {
    const char* name;
    std::uint64_t start;
    std::uint64_t length;
    bool ok;
  } cases[] = {
      {"empty", 0x5000, 0, false},        {"the same", 0x1000, 0x100, false},  {"inside", 0x1010, 1, false},
      {"around", 0x0, 0x10000, false},    {"its end", 0x10FF, 0x10, false},    {"its start", 0xFF1, 0x10, false},
      {"wraps", kTop, 2, false},          {"the last address", kTop, 1, true}, {"just before", 0xFF0, 0x10, true},
      {"just after", 0x1100, 0x10, true},
  };
  Recorder first{"first"};
  Recorder other{"other"};
  Bus bus;
  ASSERT_TRUE(bus.add(0x1000, 0x100, first));
  for (const auto& each : cases) {
    const auto added = bus.add(each.start, each.length, other);
    EXPECT_EQ(added.has_value(), each.ok) << each.name;
    if (!added) {
      EXPECT_EQ(added.error().code(), ErrorCode::kInvalid) << each.name;
    }
  }
  std::byte value{};
  bus.read(kTop, {&value, 1});
  EXPECT_EQ(value, std::byte{0x5A});
}

}  // namespace
}  // namespace understudy
