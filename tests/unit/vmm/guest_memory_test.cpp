// Guest memory around the 32-bit hole, its bounds, and the marks of the VMM's writes; and the page sets beneath.
#include "vmm/guest_memory.h"

#include <thread>

#include <gtest/gtest.h>

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
