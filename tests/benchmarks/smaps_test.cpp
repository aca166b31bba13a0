#include "tests/benchmarks/smaps.h"

#include <string>

#include <gtest/gtest.h>

namespace understudy::bench {
namespace {

constexpr std::uint64_t kGuestBytes = 0x1000'0000;

constexpr const char* kProgram =
    "55d0c0000000-55d0c0010000 r-xp 00000000 fe:00 1234                       /usr/bin/program\n"
    "Size:                 64 kB\nRss:                  64 kB\nPss:                  12 kB\nPss_Dirty:             8 kB\n"
    "VmFlags: rd ex mr mw me sd \n";
constexpr const char* kGuest =
    "7f0000000000-7f0010000000 rw-s 00000000 00:01 2049                       /memfd:guest (deleted)\n"
    "Size:             262144 kB\nRss:              100000 kB\nPss:              100000 kB\nVmFlags: rd wr sh \n";
constexpr const char* kInitrd =
    "7f0020000000-7f0020112000 r--p 00000000 00:01 2050                       /memfd:bench-initrd (deleted)\n"
    "Size:               1096 kB\nPss:                1096 kB\n";
constexpr const char* kHeap =
    "55d0c1000000-55d0c1100000 rw-p 00000000 00:00 0                          [heap]\n"
    "Size:               1024 kB\nPss:                 500 kB\n";

TEST(Smaps, LeavesGuestMemoryOut) {
  struct Case {
    const char* name;
    std::string text;
    std::uint64_t kib;
  };
  const Case cases[] = {
      {"in the middle", std::string{kProgram} + kGuest + kHeap, 512},
      {"at the end", std::string{kHeap} + kGuest, 500},
      {"without a last newline", std::string{kGuest} + "55d0c1000000-55d0c1100000 rw-p 0 00:00 0\nPss: 7 kB", 7},
      // A hole that the VMM cut into its mapping.
      {"in two pieces",
       "7f0000000000-7f0008000000 rw-s 00000000 00:01 1 /memfd:guest\nPss: 10 kB\n"
       "7f0008000000-7f0010000000 rw-s 08000000 00:01 1 /memfd:guest\nPss: 10 kB\n" +
           std::string{kProgram},
       12},
      {"beside the memfd of an initrd", std::string{kGuest} + kInitrd + kHeap, 500},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    const auto bytes = pss_beyond_guest(test.text, kGuestBytes);
    ASSERT_TRUE(bytes.has_value()) << bytes.error().text();
    EXPECT_EQ(*bytes, test.kib * 1024);
  }
}

TEST(Smaps, RefusesWhatItCannotTell) {
  const std::string cases[] = {
      "",
      kProgram,                      // no guest memory
      std::string{kGuest} + kGuest,  // twice as much as there is
      std::string{kGuest} + "Pss:\n" + kProgram + "Pss:   kB\n",
  };
  for (const auto& text : cases) EXPECT_FALSE(pss_beyond_guest(text, kGuestBytes).has_value()) << text;
}

}  // namespace
}  // namespace understudy::bench
