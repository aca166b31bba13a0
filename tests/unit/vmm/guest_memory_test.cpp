// Guest memory around the 32-bit hole, its bounds, and the marks of the VMM's writes; and the page sets beneath.
#include "vmm/guest_memory.h"

#include <algorithm>
#include <thread>

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace understudy {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

std::vector<std::uint64_t> marked(GuestMemory& memory) {
  PageSet pages{memory.page_count()};
  memory.host_writes().drain(pages);
  std::vector<std::uint64_t> result;
  pages.for_each([&](PageIndex page) { result.push_back(page.raw()); });
  return result;
}

TEST(GuestMemory, RefusesSizesThatItCannotHave) {
  for (const std::uint64_t bytes : {std::uint64_t{0}, 4 * kMiB - 4096, 4 * kMiB + 1, (std::uint64_t{1} << 40) + 4096, ~std::uint64_t{0}}) {
    const auto memory = GuestMemory::create(bytes);
    ASSERT_FALSE(memory.has_value()) << bytes;
    EXPECT_EQ(memory.error().code(), ErrorCode::kInvalid);
    EXPECT_NE(memory.error().text().find(std::to_string(bytes)), std::string::npos) << memory.error().text();
  }
}

TEST(GuestMemory, LeavesTheHoleOut) {
  const auto memory = GuestMemory::create(4096 * kMiB).value();  // reserved, not touched
  ASSERT_EQ(memory->layout().regions.size(), 2U);
  EXPECT_EQ(memory->layout().regions[1].start.raw(), GuestMemory::kHoleEnd);
  EXPECT_EQ(memory->layout().page_count(), memory->page_count());
  EXPECT_TRUE(memory->at(GuestPhysicalAddress{GuestMemory::kHoleStart - 8}, 8).has_value());
  EXPECT_FALSE(memory->at(GuestPhysicalAddress{GuestMemory::kHoleStart - 8}, 9).has_value());
  EXPECT_FALSE(memory->at(GuestPhysicalAddress{GuestMemory::kHoleStart}, 1).has_value());
  EXPECT_TRUE(memory->at(GuestPhysicalAddress{GuestMemory::kHoleEnd}, 1).has_value());
  EXPECT_FALSE(memory->at(GuestPhysicalAddress{GuestMemory::kHoleEnd - 1}, 2).has_value());
  // The file is dense: the byte above the hole follows the byte below it.
  const auto below = memory->at(GuestPhysicalAddress{GuestMemory::kHoleStart - 1}, 1);
  const auto above = memory->at(GuestPhysicalAddress{GuestMemory::kHoleEnd}, 1);
  EXPECT_EQ(below->data() + 1, above->data());
}

TEST(GuestMemory, NoRangeOverflows) {
  const auto memory = GuestMemory::create(4 * kMiB).value();
  EXPECT_FALSE(memory->at(GuestPhysicalAddress{~0ULL}, 1).has_value());
  EXPECT_FALSE(memory->at(GuestPhysicalAddress{~0ULL}, ~0ULL).has_value());
  EXPECT_FALSE(memory->at(GuestPhysicalAddress{1}, ~0ULL).has_value());
  EXPECT_FALSE(memory->at(GuestPhysicalAddress{4 * kMiB + 1}, 0).has_value());
  EXPECT_TRUE(memory->at(GuestPhysicalAddress{4 * kMiB}, 0).has_value());
}

TEST(GuestMemory, MarksEachPageOfAWriteOnce) {
  const auto memory = GuestMemory::create(4 * kMiB).value();
  const std::vector<std::byte> bytes(2 * kPageSizeBytes, std::byte{7});
  ASSERT_TRUE(memory->write(GuestPhysicalAddress{0x1800}, bytes));
  ASSERT_TRUE(memory->write(GuestPhysicalAddress{0x5000}, std::span{bytes}.first(1)));
  ASSERT_TRUE(memory->write(GuestPhysicalAddress{0x7000}, {}));
  EXPECT_EQ(marked(*memory), (std::vector<std::uint64_t>{1, 2, 3, 5}));
  EXPECT_TRUE(marked(*memory).empty());
  EXPECT_FALSE(memory->write(GuestPhysicalAddress{4 * kMiB - 1}, bytes));
  EXPECT_TRUE(marked(*memory).empty());
  std::vector<std::byte> back(bytes.size());
  ASSERT_TRUE(memory->read(GuestPhysicalAddress{0x1800}, back));
  EXPECT_EQ(back, bytes);
}

// How many pages the host holds: from the file's side, so that asking touches none.
std::uint64_t held(const GuestMemory& memory) {
  struct stat status {};
  EXPECT_EQ(::fstat(memory.fd(), &status), 0);
  return static_cast<std::uint64_t>(status.st_blocks) * 512 / kPageSizeBytes;
}
void fill(GuestMemory& memory, std::size_t first, std::size_t count) {
  std::ranges::fill(memory.file().subspan(first * kPageSizeBytes, count * kPageSizeBytes), std::byte{9});
}
bool is_zero(const GuestMemory& memory, std::size_t page) {
  const auto bytes = memory.file().subspan(page * kPageSizeBytes, kPageSizeBytes);
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

TEST(GuestMemory, WhatIsDiscardedIsZerosMarkedAndNotHeld) {
  const auto memory = GuestMemory::create(8 * kMiB).value();
  fill(*memory, 10, 8);
  marked(*memory);
  ASSERT_EQ(held(*memory), 8U);
  ASSERT_TRUE(memory->discard(GuestPhysicalAddress{12 * kPageSizeBytes}, 3 * kPageSizeBytes));
  EXPECT_EQ(held(*memory), 5U);
  EXPECT_EQ(marked(*memory), (std::vector<std::uint64_t>{12, 13, 14}));
  for (std::size_t page = 10; page < 18; ++page) EXPECT_EQ(is_zero(*memory, page), page >= 12 && page < 15) << page;
  fill(*memory, 13, 1);
  EXPECT_FALSE(is_zero(*memory, 13)) << "a discarded page can be used again";
}

TEST(GuestMemory, DiscardsWholePagesOfOneRegionOnly) {
  const auto memory = GuestMemory::create(4096 * kMiB).value();
  const std::pair<std::uint64_t, std::uint64_t> cases[] = {{0x1001, kPageSizeBytes},
                                                           {0x1000, kPageSizeBytes - 1},
                                                           {GuestMemory::kHoleStart - kPageSizeBytes, 2 * kPageSizeBytes},
                                                           {GuestMemory::kHoleStart, kPageSizeBytes},
                                                           {~std::uint64_t{4095}, kPageSizeBytes},
                                                           {0x1000, ~std::uint64_t{4095}}};
  for (const auto& [start, length] : cases) {
    const auto refused = memory->discard(GuestPhysicalAddress{start}, length);
    ASSERT_FALSE(refused.has_value()) << start;
    EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid);
  }
  // Above the hole the file goes on where it left off below.
  fill(*memory, GuestMemory::kHoleStart / kPageSizeBytes, 1);
  ASSERT_TRUE(memory->discard(GuestPhysicalAddress{GuestMemory::kHoleEnd}, kPageSizeBytes));
  EXPECT_EQ(marked(*memory), (std::vector<std::uint64_t>{GuestMemory::kHoleStart / kPageSizeBytes}));
  EXPECT_EQ(held(*memory), 0U);
}

TEST(GuestMemory, KnowsWhatTheHostHoldsWithoutTouchingIt) {
  const auto memory = GuestMemory::create(4 * kMiB).value();
  EXPECT_EQ(memory->absent_run(PageIndex{0}, 5000), 1024U) << "nothing was touched yet";
  EXPECT_EQ(memory->absent_run(PageIndex{1000}, 5), 5U);
  EXPECT_EQ(memory->absent_run(PageIndex{1000}, 0), 0U);
  fill(*memory, 100, 20);
  EXPECT_EQ(memory->absent_run(PageIndex{90}, 1000), 10U);
  EXPECT_EQ(memory->absent_run(PageIndex{100}, 1000), 0U);
  EXPECT_EQ(memory->absent_run(PageIndex{119}, 1000), 0U);
  EXPECT_EQ(memory->absent_run(PageIndex{120}, 1000), 904U);
  ASSERT_TRUE(memory->discard(GuestPhysicalAddress{110 * kPageSizeBytes}, kPageSizeBytes));
  EXPECT_EQ(memory->absent_run(PageIndex{110}, 1000), 1U);
  EXPECT_EQ(memory->absent_run(PageIndex{111}, 1000), 0U);
  EXPECT_EQ(held(*memory), 19U);
}

TEST(GuestMemory, ZeroingHoldsNoMoreThanBefore) {
  const auto memory = GuestMemory::create(4 * kMiB).value();
  fill(*memory, 100, 4);
  fill(*memory, 200, 100);
  marked(*memory);
  memory->zero(PageIndex{90}, 220);
  EXPECT_EQ(held(*memory), 4U) << "a few pages in use stay; the many are given back";
  EXPECT_TRUE(marked(*memory).empty());
  for (std::size_t page = 90; page < 310; ++page) ASSERT_TRUE(is_zero(*memory, page)) << page;
  memory->zero(PageIndex{0}, 0);
  fill(*memory, 1022, 2);
  memory->zero(PageIndex{1023}, 1);
  EXPECT_TRUE(is_zero(*memory, 1023));
  EXPECT_FALSE(is_zero(*memory, 1022));
}

TEST(PageSet, CountsMergesAndVisitsInOrder) {
  PageSet set{130};
  EXPECT_TRUE(set.empty());
  for (const unsigned page : {129U, 0U, 64U, 63U}) set.insert(PageIndex{page});
  EXPECT_EQ(set.count(), 4U);
  PageSet other{130};
  other.insert(PageIndex{1});
  set.merge(other);
  std::vector<std::uint64_t> visited;
  set.for_each([&](PageIndex page) { visited.push_back(page.raw()); });
  EXPECT_EQ(visited, (std::vector<std::uint64_t>{0, 1, 63, 64, 129}));
  set.insert_all();
  EXPECT_EQ(set.count(), 130U);
  EXPECT_EQ(set.words().back(), 3U) << "no bit beyond the last page";
}

TEST(PageSet, TakesAndLosesWholeRanges) {
  for (const auto& [first, count] : {std::pair{0U, 0U}, {0U, 1U}, {63U, 2U}, {5U, 59U}, {64U, 64U}, {1U, 199U}, {200U, 0U}}) {
    AtomicPageSet set{200};
    set.insert(PageIndex{first}, count);
    for (unsigned page = 0; page < 200; ++page) ASSERT_EQ(set.contains(PageIndex{page}), page >= first && page < first + count) << page;
    set.insert(PageIndex{0}, 200);
    set.remove(PageIndex{first}, count);
    for (unsigned page = 0; page < 200; ++page) ASSERT_EQ(set.contains(PageIndex{page}), page < first || page >= first + count) << page;
  }
}

TEST(PageSet, AnInsertDuringADrainIsInThisDrainOrTheNext) {
  constexpr std::size_t kPages = 4096;
  AtomicPageSet shared{kPages};
  PageSet drained{kPages};
  std::thread writer{[&] {
    for (std::size_t page = 0; page < kPages; ++page) shared.insert(PageIndex{page});
  }};
  for (int i = 0; i < 50; ++i) shared.drain(drained);
  writer.join();
  shared.drain(drained);
  EXPECT_EQ(drained.count(), kPages);
}

}  // namespace
}  // namespace understudy
