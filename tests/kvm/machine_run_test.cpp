// Boot, run, pause, and the ways in which a guest ends.
#include <condition_variable>
#include <mutex>
#include <thread>

#include "machine_fixture.h"
#include "vmm/kvm.h"

namespace understudy::test {
namespace {

TEST(MachineRun, BootsAnElfThatWritesToSerialAndPowersOff) {
  auto guest = boot_machine(hello_guest());
  EXPECT_FALSE(guest.machine->first_entry().has_value());
  ASSERT_OK(guest.machine->resume());
  const auto event = guest.watch->wait_end();
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->kind, MachineEventKind::kPowerOff) << event->text;
  EXPECT_EQ(guest.watch->serial(), "hello\n");
  EXPECT_TRUE(guest.machine->first_entry().has_value());
}

TEST(MachineRun, AnEndedGuestNeitherPausesNorRuns) {
  auto guest = boot_machine(hello_guest());
  ASSERT_OK(guest.machine->resume());
  ASSERT_TRUE(guest.watch->wait_end().has_value());
  const auto paused = guest.machine->pause(kLong);
  ASSERT_FALSE(paused.has_value());
  EXPECT_EQ(paused.error().code(), ErrorCode::kUnavailable);
  EXPECT_NE(paused.error().text().find("power-off"), std::string::npos) << paused.error().text();
  EXPECT_FALSE(guest.machine->resume().has_value());
}

TEST(MachineRun, NamesAReset) {
  auto guest = boot_machine(reset_guest());
  ASSERT_OK(guest.machine->resume());
  const auto event = guest.watch->wait_end();
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->kind, MachineEventKind::kReset) << event->text;
}

TEST(MachineRun, NamesATripleFaultAndItsPlace) {
  auto guest = boot_machine(triple_fault_guest());
  ASSERT_OK(guest.machine->resume());
  const auto event = guest.watch->wait_end();
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->kind, MachineEventKind::kTripleFault) << event->text;
  EXPECT_NE(event->text.find("RIP 0x"), std::string::npos) << event->text;
}

TEST(MachineRun, ReportsWhatKvmCannotRunAndDoesNotRetry) {
  auto guest = boot_machine(jump_to_mmio_guest());
  ASSERT_OK(guest.machine->resume());
  const auto event = guest.watch->wait_end();
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->kind, MachineEventKind::kInternalError) << event->text;
  EXPECT_NE(event->text.find("suberror 1"), std::string::npos) << event->text;
  EXPECT_NE(event->text.find("RIP 0xd8000000, 64-bit mode, ring 0"), std::string::npos) << event->text;
  const auto exits = guest.machine->exits();
  EXPECT_FALSE(guest.machine->resume().has_value());
  EXPECT_EQ(guest.machine->exits(), exits);
}

TEST(MachineRun, StandsStillWhilePausedAndGoesOnAfter) {
  auto guest = boot_machine(counter_guest());
  ASSERT_OK(guest.machine->resume());
  ASSERT_TRUE(guest.wait_word_changes(kGuestData, 1));
  for (int round = 0; round < 20; ++round) {
    ASSERT_OK(guest.machine->pause(kLong));
    ASSERT_OK(guest.machine->pause(kLong));  // idempotent
    EXPECT_TRUE(guest.machine->paused());
    const auto image = guest.image();
    const auto first = copy(guest.machine->save().value());
    EXPECT_TRUE(image == guest.image());
    EXPECT_EQ(difference_but_for_time(first, guest.machine->save().value()), "");
    const std::uint64_t count = guest.word(kGuestData);
    ASSERT_OK(guest.machine->resume());
    EXPECT_FALSE(guest.machine->paused());
    ASSERT_TRUE(guest.wait_word_changes(kGuestData, count));
  }
}

TEST(MachineRun, AVcpuThatDoesNotStopInTimeMakesTheMachineRunOn) {
  std::mutex mutex;
  std::condition_variable changed;
  bool reached = false;
  bool released = false;
  const TemporaryFile kernel{make_elf(hello_guest())};
  const MonotonicClock clock;
  GuestWatch watch;
  MachineConfig config;
  config.kernel_path = kernel.path();
  config.devices.serial_sink = [&](ConstBytes) {
    std::unique_lock lock{mutex};
    reached = true;
    changed.notify_all();
    changed.wait(lock, [&] { return released; });
  };
  config.on_event = [&](const MachineEvent& event) { watch.ended(event); };
  auto machine = Machine::create(std::move(config), GuestMemory::create(kTestMemoryBytes).value(), clock);
  ASSERT_OK(machine);
  ASSERT_OK((*machine)->boot());
  ASSERT_OK((*machine)->resume());
  {
    std::unique_lock lock{mutex};
    ASSERT_TRUE(changed.wait_for(lock, kLong, [&] { return reached; }));
  }
  const auto paused = (*machine)->pause(std::chrono::milliseconds{20});
  {
    const std::lock_guard lock{mutex};
    released = true;
    changed.notify_all();
  }
  ASSERT_FALSE(paused.has_value());
  EXPECT_EQ(paused.error().code(), ErrorCode::kTimeout) << paused.error().text();
  EXPECT_FALSE((*machine)->paused());
  const auto event = watch.wait_end();
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->kind, MachineEventKind::kPowerOff) << event->text;
}

TEST(MachineRun, StartsItsOtherProcessors) {
  for (const unsigned vcpus : {2U, 8U}) {
    auto guest = boot_machine(smp_guest(), vcpus);
    ASSERT_OK(guest.machine->resume());
    const auto event = guest.watch->wait_end();
    ASSERT_TRUE(event.has_value()) << vcpus;
    EXPECT_EQ(event->kind, MachineEventKind::kPowerOff) << event->text;
    EXPECT_EQ(guest.word(0x30008) & 0xFFFF, vcpus - 1);
  }
}

// A vCPU that ends the guest visits all the others, while the machine is being taken down.
TEST(MachineRun, MayBeDestroyedAtAnyMoment) {
  for (int round = 0; round < 20; ++round) {
    auto guest = boot_machine(smp_guest(), 4);
    ASSERT_OK(guest.machine->resume());
    std::this_thread::sleep_for(std::chrono::microseconds{round * 200});
    guest.machine.reset();
  }
}

TEST(MachineRun, DeliversTheLocalTimersInterrupts) {
  auto guest = boot_machine(timer_guest());
  ASSERT_OK(guest.machine->resume());
  ASSERT_TRUE(guest.wait_word_changes(kGuestData, 1));
  ASSERT_TRUE(guest.wait_word_changes(kGuestData, guest.word(kGuestData)));
}

TEST(MachineRun, RefusesWhatItCannotDo) {
  auto fresh = make_machine();
  const auto resumed = fresh.machine->resume();
  ASSERT_FALSE(resumed.has_value());
  EXPECT_EQ(resumed.error().code(), ErrorCode::kRefused);
  const auto saved = fresh.machine->save();
  EXPECT_FALSE(saved.has_value());
  const auto booted = fresh.machine->boot();  // no kernel was named
  ASSERT_FALSE(booted.has_value());
  EXPECT_EQ(booted.error().code(), ErrorCode::kInvalid);

  auto running = boot_machine(counter_guest());
  ASSERT_OK(running.machine->resume());
  EXPECT_FALSE(running.machine->resume().has_value());
  EXPECT_FALSE(running.machine->save().has_value());
  EXPECT_FALSE(running.machine->boot().has_value());

  const MonotonicClock clock;
  for (const unsigned vcpus : {0U, 9U}) {
    MachineConfig config;
    config.vcpu_count = vcpus;
    const auto refused = Machine::create(std::move(config), GuestMemory::create(kTestMemoryBytes).value(), clock);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid);
  }
}

TEST(MachineRun, AMissingKvmIsNamedWithItsMend) {
  const auto kvm = Kvm::open("/nonexistent/kvm");
  ASSERT_FALSE(kvm.has_value());
  EXPECT_EQ(kvm.error().code(), ErrorCode::kUnavailable);
  EXPECT_NE(kvm.error().text().find("load kvm_intel or kvm_amd"), std::string::npos) << kvm.error().text();
  const auto null = Kvm::open("/dev/null");
  ASSERT_FALSE(null.has_value());
  EXPECT_NE(null.error().text().find("KVM_GET_API_VERSION"), std::string::npos) << null.error().text();
}

}  // namespace
}  // namespace understudy::test
