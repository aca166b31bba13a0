// What the guest reads before it does anything: command line, zero page, MP table; and the dirtier's pace.
#include <cstring>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "tests/guest/boot_params.h"
#include "tests/guest/dirtier.h"
#include "tests/guest/mp_table.h"
#include "tests/guest/options.h"

namespace understudy::guest {
namespace {

TEST(Options, EverythingIsRead) {
  const Options o = parse_options(
      "quiet  mode=dirtier background=torture ip=192.168.1.7 log=1 tsc_khz=2500000 duty_percent=7 pages_per_second=5 bytes_per_page=4096 "
      "working_set_pages=9 records_per_second=3 burst=16 log_start_sector=8 log_sectors=64 virtio_mmio.device=4K@0xd0000000:5 "
      "virtio_mmio.device=4K@0xd0001000:6");
  EXPECT_EQ(o.bad, "");
  EXPECT_EQ(o.mode, Mode::kDirtier);
  EXPECT_EQ(o.background, Mode::kTorture);
  EXPECT_EQ(o.ip, 0xC0A80107U);
  EXPECT_TRUE(o.log);
  EXPECT_EQ(o.tsc_khz, 2'500'000U);
  EXPECT_EQ(o.duty_percent, 7U);
  EXPECT_EQ(o.pages_per_second, 5U);
  EXPECT_EQ(o.bytes_per_page, 4096U);
  EXPECT_EQ(o.working_set_pages, 9U);
  EXPECT_EQ(o.records_per_second, 3U);
  EXPECT_EQ(o.burst, 16U);
  EXPECT_EQ(o.log_start_sector, 8U);
  EXPECT_EQ(o.log_sectors, 64U);
  ASSERT_EQ(o.device_count, 2U);
  EXPECT_EQ(o.devices[1].base, 0xd0001000U);
  EXPECT_EQ(o.devices[1].gsi, 6U);
}

TEST(Options, WrongValuesAreNamed) {
  for (const std::string_view word :
       {"mode=", "mode=tea", "background=kv", "ip=1.2.3", "ip=1.2.3.256", "ip=1.2.3.4.5", "log=2", "burst=0", "burst=17", "burst=1x",
        "log_sectors=63", "duty_percent=0", "duty_percent=101", "tsc_khz=99999999999999999999", "bytes_per_page=4097",
        "virtio_mmio.device=4K@0xd0000000", "virtio_mmio.device=4K@0x1000:5", "virtio_mmio.device=4K@0xd0000000:24",
        "virtio_mmio.device=4@0xd0000000:5"})
    EXPECT_EQ(parse_options(std::string{"quiet "} + std::string{word} + " log=1").bad, word);
  EXPECT_EQ(parse_options("bytes_per_page=12").bad, "bytes_per_page");
  EXPECT_EQ(parse_options("").bad, "");
  EXPECT_EQ(parse_options("console=ttyS0 modes=1").bad, "");
}

TEST(BootParams, FindsCommandLineAndRam) {
  std::vector<unsigned char> page(4096);
  const auto put = [&](std::size_t at, auto value) { std::memcpy(&page[at], &value, sizeof value); };
  put(0x228, std::uint32_t{0x20000});
  page[0x1e8] = 3;
  const struct {
    std::uint64_t start, bytes;
    std::uint32_t type;
  } entries[] = {{0, 0x9fc00, 1}, {0x100000, 0x3f00000, 1}, {0xfee00000, 4096, 2}};
  for (std::size_t i = 0; i < 3; ++i) {
    put(0x2d0 + 20 * i, entries[i].start);
    put(0x2d8 + 20 * i, entries[i].bytes);
    put(0x2e0 + 20 * i, entries[i].type);
  }
  const std::span<const unsigned char, 4096> view{page.data(), 4096};
  const BootParams found = parse_boot_params(view, 0x300000);
  EXPECT_EQ(found.command_line, 0x20000U);
  EXPECT_EQ(found.ram_end, 0x4000000U);
  EXPECT_EQ(parse_boot_params(view, 0xfee00010).ram_end, 0U);
  EXPECT_EQ(parse_boot_params(view, 0x4000000).ram_end, 0U);
}

class MpTable {
 public:
  explicit MpTable(std::size_t at) : at_{at} {
    memory_.resize(0x100000);
    unsigned char* const table = &memory_[at + 16];
    std::memcpy(table, "PCMP", 4);
    const unsigned char entries[][2] = {{0, 3}, {1, 1}, {5, 1}, {6, 0}};  // APIC id; flags: enabled, boot
    std::size_t length = 44;
    table[length] = 1;  // a bus
    length += 8;
    for (const auto& entry : entries) {
      table[length + 1] = entry[0];
      table[length + 3] = entry[1];
      length += 20;
    }
    table[4] = static_cast<unsigned char>(length);
    table[34] = 5;
    seal(table, length, 7);
    unsigned char* const pointer = &memory_[at];
    std::memcpy(pointer, "_MP_", 4);
    const auto address = static_cast<std::uint32_t>(at + 16);
    std::memcpy(pointer + 4, &address, 4);
    pointer[8] = 1;
    seal(pointer, 16, 10);
  }
  std::vector<unsigned char>& memory() { return memory_; }
  MpProcessors find() const { return find_processors(memory_); }

 private:
  static void seal(unsigned char* bytes, std::size_t length, std::size_t checksum_at) {
    unsigned sum = 0;
    for (std::size_t i = 0; i < length; ++i) sum += bytes[i];
    bytes[checksum_at] = static_cast<unsigned char>(-sum);
  }
  std::size_t at_;
  std::vector<unsigned char> memory_;
};

TEST(MpTable, FoundInEachOfItsPlaces) {
  for (const std::size_t place : {0x9fc00UL, 0xf0000UL, 0xffe00UL, 0x80000UL}) {
    MpTable table{place};
    table.memory()[0x40f] = 0x80;  // EBDA at 0x80000
    const MpProcessors found = table.find();
    ASSERT_TRUE(found.found) << place;
    ASSERT_EQ(found.count, 3U);
    EXPECT_EQ(found.apic_ids[2], 5U);
    EXPECT_TRUE(found.boot[0]);
    EXPECT_FALSE(found.boot[1]);
  }
  EXPECT_FALSE(find_processors(std::vector<unsigned char>(0x100000)).found);
  EXPECT_FALSE(find_processors({}).found);
}

TEST(MpTable, DamagedTableIsNotTaken) {
  for (const std::size_t byte : {0UL, 5UL, 9UL, 16UL, 20UL, 21UL, 50UL}) {
    MpTable table{0x9fc00};
    table.memory()[0x9fc00 + byte] ^= 0x10;
    EXPECT_FALSE(table.find().found) << byte;
  }
}

TEST(Dirtier, KeepsItsPaceAndItsPlace) {
  constexpr std::uint64_t kPages = 10;
  auto* const memory = new (std::align_val_t{4096}) std::uint64_t[kPages * 512]();
  Dirtier dirtier;
  dirtier.start({reinterpret_cast<std::uint64_t>(memory), kPages, 20'000, 64, 2'000'000}, 1'000);
  std::uint64_t now = 1'000;
  for (int ms = 0; ms < 1'000; ++ms) {
    EXPECT_GE(dirtier.step(now += 2'000'000), 1'000'000U);
  }
  EXPECT_EQ(dirtier.pages(), 20'000U);
  EXPECT_EQ(dirtier.missed(), 0U);
  for (std::uint64_t page = 0; page < kPages; ++page) {
    std::size_t words = 0;
    for (std::size_t i = 0; i < 512; ++i) words += memory[page * 512 + i] != 0 ? 1U : 0U;
    EXPECT_GE(words, 8U);
  }
  // A second's standstill is missed, but for its last 50 ms; a clock that goes back costs nothing.
  dirtier.step(now += 2'000'000'000);
  EXPECT_EQ(dirtier.pages(), 21'000U);
  EXPECT_EQ(dirtier.missed(), 19'000U);
  dirtier.step(now - 1'000'000);
  EXPECT_EQ(dirtier.pages(), 21'000U);
  operator delete[](memory, std::align_val_t{4096});
}

TEST(Dirtier, SleepsUntilTheNextPage) {
  alignas(4096) static std::uint64_t page[512];
  Dirtier dirtier;
  dirtier.start({reinterpret_cast<std::uint64_t>(page), 1, 10, 4096, 2'000'000}, 0);
  EXPECT_EQ(dirtier.step(0), 100'000'000U);
  EXPECT_EQ(dirtier.step(50'000'000), 75'000'000U);
}

}  // namespace
}  // namespace understudy::guest
