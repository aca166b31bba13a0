// A harvest reports every page that was written, by the guest or by the VMM, and what is given back.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "machine_fixture.h"

namespace understudy::test {
namespace {

TEST(MachineDirty, AHarvestNeedsTracking) {
  auto guest = boot_machine(counter_guest());
  PageSet pages{guest.machine->page_count()};
  const auto refused = guest.machine->harvest(pages);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kRefused);
}

TEST(MachineDirty, FindsTheGuestsPagesAndNoOthers) {
  auto guest = boot_machine(counter_guest());
  ASSERT_OK(guest.machine->start_tracking());
  ASSERT_OK(guest.machine->start_tracking());
  EXPECT_TRUE(guest.harvest().empty());
  ASSERT_OK(guest.machine->resume());
  ASSERT_TRUE(guest.wait_word_changes(kGuestData, guest.word(kGuestData)));
  ASSERT_TRUE(guest.wait_word_changes(kGuestData, guest.word(kGuestData)));  // a whole turn of its 64 pages
  ASSERT_OK(guest.machine->pause(kLong));
  const PageSet pages = guest.harvest();
  for (std::uint64_t i = 0; i < 64; ++i) EXPECT_TRUE(pages.contains(PageIndex{kDataPage.raw() + i})) << i;
  EXPECT_FALSE(pages.contains(PageIndex{kDataPage.raw() + 64}));
  EXPECT_TRUE(guest.harvest().empty());
  ASSERT_OK(guest.machine->resume());
  ASSERT_TRUE(guest.wait_word_changes(kGuestData, guest.word(kGuestData)));
  ASSERT_OK(guest.machine->pause(kLong));
  EXPECT_TRUE(guest.harvest().contains(kDataPage)) << "protected again by the harvest before";
}

TEST(MachineDirty, FindsTheVmmsOwnWrites) {
  auto guest = boot_machine(counter_guest());
  ASSERT_OK(guest.machine->start_tracking());
  constexpr std::uint64_t kAddress = 0x50'0FFF;
  const std::byte bytes[2] = {std::byte{1}, std::byte{2}};
  ASSERT_TRUE(guest.memory->write(GuestPhysicalAddress{kAddress}, bytes));
  const PageSet pages = guest.harvest();
  EXPECT_EQ(pages.count(), 2U);
  EXPECT_TRUE(pages.contains(PageIndex{0x500}));
  EXPECT_TRUE(pages.contains(PageIndex{0x501}));
  EXPECT_TRUE(guest.harvest().empty());
}

TEST(MachineDirty, WhatIsGivenBackIsReportedAgain) {
  auto guest = boot_machine(counter_guest());
  ASSERT_OK(guest.machine->start_tracking());
  PageSet aborted{guest.machine->page_count()};
  aborted.insert(PageIndex{9});
  guest.machine->merge_back(aborted);
  EXPECT_TRUE(guest.harvest().contains(PageIndex{9}));
  EXPECT_TRUE(guest.harvest().empty());
}

// A replica that copies only what harvests report stays equal to the guest: with harvests while it runs, and with one aborted now and then.
TEST(MachineDirty, AReplicaByHarvestsIsTheGuest) {
  for (const auto code : {counter_guest(), port_echo_guest(), timer_guest()}) {
    auto guest = boot_machine(code);
    ASSERT_OK(guest.machine->start_tracking());
    auto replica = guest.image();
    ASSERT_OK(guest.machine->resume());
    for (int round = 0; round < 40; ++round) {
      std::this_thread::sleep_for(std::chrono::milliseconds{1 + round % 4});
      const bool at_pause = round % 3 == 2;
      if (at_pause) {
        ASSERT_OK(guest.machine->pause(kLong));
        ASSERT_OK(guest.machine->save());
      }
      const PageSet pages = guest.harvest();
      if (round % 5 == 1) {
        guest.machine->merge_back(pages);
      } else {
        pages.for_each([&](PageIndex page) {
          std::ranges::copy(guest.machine->page(page), replica.begin() + static_cast<std::ptrdiff_t>(page.raw() * kPageSizeBytes));
        });
        if (at_pause) {
          ASSERT_TRUE(replica == guest.image()) << round;
        }
      }
      if (at_pause) ASSERT_OK(guest.machine->resume());
    }
  }
}

// The same with pages that are hot by turns: they stay writable over harvests, and what is written to them is never missed.
TEST(MachineDirty, AReplicaStaysTheGuestWithHotPages) {
  auto guest = boot_machine(counter_guest());
  ASSERT_OK(guest.machine->start_tracking());
  auto replica = guest.image();
  ASSERT_OK(guest.machine->resume());
  for (int round = 0; round < 60; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds{1 + round % 3});
    ASSERT_OK(guest.machine->pause(kLong));
    ASSERT_OK(guest.machine->save());
    const PageSet pages = guest.harvest();
    pages.for_each([&](PageIndex page) {
      std::ranges::copy(guest.machine->page(page), replica.begin() + static_cast<std::ptrdiff_t>(page.raw() * kPageSizeBytes));
      guest.machine->set_hot(page, (page.raw() * 7 + static_cast<std::uint64_t>(round) / 5) % 3 != 0);
    });
    ASSERT_TRUE(replica == guest.image()) << round;
    ASSERT_OK(guest.machine->resume());
  }
  ASSERT_OK(guest.machine->pause(kLong));
  for (std::uint64_t i = 0; i < 64; ++i) guest.machine->set_hot(PageIndex{kDataPage.raw() + i}, true);
  guest.harvest();
  ASSERT_OK(guest.machine->resume());
  ASSERT_TRUE(guest.wait_word_changes(kGuestData, guest.word(kGuestData)));
  ASSERT_TRUE(guest.wait_word_changes(kGuestData, guest.word(kGuestData)));
  ASSERT_OK(guest.machine->pause(kLong));
  for (int harvests = 0; harvests < 3; ++harvests) {
    const PageSet pages = guest.harvest();
    for (std::uint64_t i = 0; i < 64; ++i) EXPECT_TRUE(pages.contains(PageIndex{kDataPage.raw() + i})) << i;
  }
}

TEST(MachineDirty, AProtectionFaultHasACost) {
  auto guest = boot_machine(counter_guest());
  const Duration fault = guest.machine->protection_fault();
  std::printf("a protection fault costs %.1f us here\n", static_cast<double>(fault.count()) / 1e3);
  EXPECT_GT(fault, Duration{0});
  EXPECT_LT(fault, std::chrono::milliseconds{100});
}

// The host takes pages that the guest is writing at this very moment: what a balloon does, at its worst. Whatever the guest sees then, the
// replica has it.
TEST(MachineDirty, AReplicaStaysTheGuestWhileItsPagesAreDiscarded) {
  auto guest = boot_machine(counter_guest());
  ASSERT_OK(guest.machine->start_tracking());
  auto replica = guest.image();
  std::mutex devices;  // held in a pause, as quiesced devices discard nothing
  std::atomic<bool> stop{false};
  std::atomic<unsigned> discards{0};
  ASSERT_OK(guest.machine->resume());
  std::thread discarding{[&] {
    for (std::uint64_t i = 0; !stop; ++i) {
      const std::lock_guard lock{devices};
      EXPECT_TRUE(guest.memory->discard(GuestPhysicalAddress{kGuestData + i * 7 % 64 * kPageSizeBytes}, kPageSizeBytes));
      ++discards;
    }
  }};
  for (int round = 0; round < 60; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds{1 + round % 3});
    const bool at_pause = round % 3 == 2;
    std::unique_lock lock{devices, std::defer_lock};
    if (at_pause) {
      ASSERT_OK(guest.machine->pause(kLong));
      lock.lock();
      ASSERT_OK(guest.machine->save());
    }
    guest.harvest().for_each([&](PageIndex page) {
      const auto target = std::span{replica}.subspan(page.raw() * kPageSizeBytes, kPageSizeBytes);
      if (guest.machine->absent_run(page, 1) > 0) {
        std::ranges::fill(target, std::byte{0});
      } else {
        std::ranges::copy(guest.machine->page(page), target.begin());
      }
    });
    if (!at_pause) continue;
    const bool same = replica == guest.image();
    lock.unlock();
    EXPECT_TRUE(same) << round;
    ASSERT_OK(guest.machine->resume());
    if (!same) break;
  }
  stop = true;
  discarding.join();
  EXPECT_GT(discards, 20U);
}

TEST(MachineDirty, TrackingStopsAndStartsAgain) {
  auto guest = boot_machine(counter_guest());
  ASSERT_OK(guest.machine->start_tracking());
  ASSERT_OK(guest.machine->stop_tracking());
  PageSet pages{guest.machine->page_count()};
  EXPECT_FALSE(guest.machine->harvest(pages).has_value());
  ASSERT_OK(guest.machine->resume());
  ASSERT_TRUE(guest.wait_word_changes(kGuestData, guest.word(kGuestData)));
  ASSERT_OK(guest.machine->start_tracking());
  ASSERT_TRUE(guest.wait_word_changes(kGuestData, guest.word(kGuestData)));
  ASSERT_OK(guest.machine->pause(kLong));
  EXPECT_TRUE(guest.harvest().contains(kDataPage));
}

}  // namespace
}  // namespace understudy::test
