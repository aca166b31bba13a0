// A guest that has ended by itself: started anew over its memory, or over and still to be saved; and a guest that tells of its end.
#include "machine_fixture.h"

namespace understudy::test {
namespace {

constexpr std::uint64_t kBoots = kGuestData + 8;
constexpr PageIndex kCodePage{kGuestCode / kPageSizeBytes};

TEST(MachineReboot, StartsTheGuestAnewOverItsMemory) {
  auto guest = boot_machine(boot_counting_guest());
  ASSERT_OK(guest.machine->resume());
  for (std::uint64_t boot = 1; boot <= 3; ++boot) {
    const auto event = guest.watch->wait_end();
    ASSERT_TRUE(event.has_value()) << boot;
    EXPECT_EQ(event->kind, boot < 3 ? MachineEventKind::kReset : MachineEventKind::kPowerOff) << event->text;
    EXPECT_EQ(guest.word(kBoots), boot) << "memory outlives a reset";
    if (boot == 3) break;
    guest.watch->forget_end();
    ASSERT_OK(guest.machine->reboot());
    EXPECT_FALSE(guest.machine->event().has_value());
    EXPECT_TRUE(guest.machine->paused());
    EXPECT_FALSE(guest.machine->first_entry().has_value());
    ASSERT_OK(guest.machine->save());  // between reset and first instruction lies an epoch's end
    ASSERT_OK(guest.machine->resume());
  }
}

TEST(MachineReboot, TheNextHarvestHasWhatBothGuestsWrote) {
  auto guest = boot_machine(boot_counting_guest());
  ASSERT_OK(guest.machine->start_tracking());
  ASSERT_OK(guest.machine->resume());
  ASSERT_TRUE(guest.watch->wait_end().has_value());
  PageSet given_back{guest.machine->page_count()};
  given_back.insert(PageIndex{77});
  guest.machine->merge_back(given_back);
  ASSERT_OK(guest.machine->reboot());
  const PageSet pages = guest.harvest();
  EXPECT_TRUE(pages.contains(kDataPage)) << "the old guest's";
  EXPECT_TRUE(pages.contains(kCodePage)) << "boot's";
  EXPECT_TRUE(pages.contains(PageIndex{77})) << "an aborted epoch's";
  EXPECT_FALSE(pages.contains(PageIndex{78}));
  EXPECT_TRUE(guest.harvest().empty());
  guest.watch->forget_end();
  ASSERT_OK(guest.machine->resume());
  ASSERT_TRUE(guest.watch->wait_end().has_value());
  EXPECT_TRUE(guest.harvest().contains(kDataPage)) << "tracked on";
}

TEST(MachineReboot, StartsEveryProcessorAnew) {
  auto guest = boot_machine(smp_guest(), 4);
  ASSERT_OK(guest.machine->resume());
  for (int boot = 0; boot < 2; ++boot) {
    const auto event = guest.watch->wait_end();
    ASSERT_TRUE(event.has_value());
    ASSERT_EQ(event->kind, MachineEventKind::kPowerOff) << event->text;
    EXPECT_EQ(guest.word(0x30008) & 0xFFFF, 3u);
    guest.set_word(0x30008, 0);
    guest.watch->forget_end();
    ASSERT_OK(guest.machine->reboot());
    ASSERT_OK(guest.machine->resume());
  }
}

TEST(MachineReboot, IsRefusedWhileTheGuestRuns) {
  auto guest = boot_machine(counter_guest());
  ASSERT_OK(guest.machine->resume());
  const auto refused = guest.machine->reboot();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kRefused);
  EXPECT_FALSE(guest.machine->accept_end("").has_value());
  ASSERT_TRUE(guest.wait_word_changes(kGuestData, guest.word(kGuestData)));
  ASSERT_OK(guest.machine->pause(kLong));
  ASSERT_OK(guest.machine->reboot());
  guest.set_word(kGuestData, 0);
  ASSERT_OK(guest.machine->resume());
  ASSERT_TRUE(guest.wait_word_changes(kGuestData, 0));
}

TEST(MachineEnd, AnAcceptedEndIsSavedAndNeverRuns) {
  auto guest = boot_machine(hello_guest());
  ASSERT_OK(guest.machine->start_tracking());
  ASSERT_OK(guest.machine->resume());
  ASSERT_TRUE(guest.watch->wait_end().has_value());
  EXPECT_EQ(guest.machine->ended(), std::nullopt) << "its owner has not decided yet";
  EXPECT_FALSE(guest.machine->pause(kLong).has_value());
  ASSERT_OK(guest.machine->accept_end("the guest powered off"));
  EXPECT_EQ(guest.machine->ended(), "the guest powered off");
  ASSERT_OK(guest.machine->pause(kLong));
  ASSERT_OK(guest.machine->save());
  guest.harvest();
  EXPECT_FALSE(guest.machine->resume().has_value());
  ASSERT_OK(guest.machine->pause(kLong));  // idempotent
  ASSERT_OK(guest.machine->reboot());
  EXPECT_EQ(guest.machine->ended(), std::nullopt);
  guest.watch->forget_end();
  ASSERT_OK(guest.machine->resume());
  ASSERT_TRUE(guest.watch->wait_end().has_value());
  EXPECT_EQ(guest.watch->serial(), "hello\nhello\n");
}

TEST(MachineEnd, AToldPanicEndsTheGuestOrOnlyIsTold) {
  struct Case {
    const char* name;
    std::byte bits;
    bool panic_ends_guest;
    std::optional<MachineEventKind> ends;
    std::size_t told;
  };
  const Case cases[] = {
      {"a panic that is only told", std::byte{1}, false, std::nullopt, 1},
      {"a panic that ends", std::byte{1}, true, MachineEventKind::kPanic, 1},
      {"a panic that the guest handles", std::byte{2}, true, std::nullopt, 1},
      {"a shutdown", std::byte{4}, false, MachineEventKind::kPowerOff, 0},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    auto guest = boot_machine(pvpanic_guest(), 1, one.panic_ends_guest);
    guest.set_word(kGuestData + 8, std::to_integer<std::uint64_t>(one.bits));
    ASSERT_OK(guest.machine->resume());
    if (one.ends) {
      const auto event = guest.watch->wait_end();
      ASSERT_TRUE(event.has_value());
      EXPECT_EQ(event->kind, *one.ends) << event->text;
    } else {
      ASSERT_TRUE(guest.wait_word_changes(kGuestData, 1)) << "it goes on";
    }
    EXPECT_EQ(guest.watch->panics(), one.told) << "though the guest tells it for ever";
  }
}

}  // namespace
}  // namespace understudy::test
