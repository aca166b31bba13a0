// The port by which a guest tells its end.
#include <vector>

#include <gtest/gtest.h>

#include "vmm/devices/pvpanic/pvpanic.h"

namespace understudy {
namespace {

class PvpanicTest : public ::testing::Test {
 protected:
  void out(std::initializer_list<unsigned> values) {
    std::vector<std::byte> bytes;
    for (const unsigned value : values) bytes.push_back(static_cast<std::byte>(value));
    device.write(0, bytes);
  }
  std::vector<unsigned> heard;
  Pvpanic device{"pvpanic0", [this](std::uint8_t news) { heard.push_back(news); }};
};

TEST_F(PvpanicTest, AReadGivesTheBitsItKnows) {
  std::byte value{};
  device.read(0, {&value, 1});
  EXPECT_EQ(value, std::byte{7});
}

TEST_F(PvpanicTest, TellsEachBitOnceABoot) {
  struct Case {
    const char* name;
    std::vector<unsigned> writes;
    std::vector<unsigned> heard;
  };
  const Case cases[] = {
      {"panicked", {Pvpanic::kPanicked}, {1}},
      {"crash loaded", {Pvpanic::kCrashLoaded}, {2}},
      {"shutdown", {Pvpanic::kShutdown}, {4}},
      {"both at once", {3}, {3}},
      {"again", {1, 1, 1}, {1}},
      {"what is new of it", {1, 3, 7}, {1, 2, 4}},
      {"unknown bits", {0xF8, 0xF9}, {1}},
      {"nothing", {0}, {}},
  };
  for (const Case& one : cases) {
    std::vector<unsigned> news;
    Pvpanic fresh{"pvpanic0", [&](std::uint8_t bits) { news.push_back(bits); }};
    for (const unsigned value : one.writes) {
      const auto byte = static_cast<std::byte>(value);
      fresh.write(0, {&byte, 1});
    }
    EXPECT_EQ(news, one.heard) << one.name;
  }
}

TEST_F(PvpanicTest, SurvivesWithoutASinkAndWithWideAccesses) {
  out({1, 2, 0, 0});
  EXPECT_EQ(heard, (std::vector<unsigned>{1, 2}));
  Pvpanic deaf{"pvpanic0", {}};
  const std::byte byte{1};
  deaf.write(0, {&byte, 1});
}

}  // namespace
}  // namespace understudy
