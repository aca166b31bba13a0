// Save, run on, restore, compare; and going on elsewhere.
#include <chrono>
#include <random>
#include <thread>

#include "machine_fixture.h"
#include "vmm/machine_state.h"

namespace understudy::test {
namespace {

struct Checkpoint {
  std::vector<std::byte> state;
  std::vector<std::byte> image;
};

Checkpoint take(GuestMachine& guest) {
  if (auto paused = guest.machine->pause(kLong); !paused) ADD_FAILURE() << paused.error().text();
  auto state = guest.machine->save();
  if (!state) ADD_FAILURE() << state.error().text();
  return {copy(*state), guest.image()};
}

bool kvm_honours_tsc_offsets() {
  const auto kvm = Kvm::open();
  auto vm = kvm.value().create_vm();
  const auto vcpu = vm.value().create_vcpu(0);
  return tsc_offset_honoured(vcpu.value().get());
}

SavedClock clock_of(std::span<const std::byte> state) { return DecodedMachineState::decode(state).value().state().clock; }

void run_for(Duration time) { std::this_thread::sleep_for(time); }

struct RestoreCase {
  const char* name;
  std::span<const std::byte> (*code)();
  unsigned vcpus;
};
void PrintTo(const RestoreCase& c, std::ostream* out) { *out << c.name; }

class MachineRestore : public testing::TestWithParam<RestoreCase> {};

TEST_P(MachineRestore, SaveRunOnRestoreCompareIsBitExact) {
  auto guest = boot_machine(GetParam().code(), GetParam().vcpus);
  ASSERT_OK(guest.machine->resume());
  run_for(std::chrono::milliseconds{30});
  const Checkpoint checkpoint = take(guest);
  ASSERT_OK(guest.machine->resume());
  run_for(std::chrono::milliseconds{30});
  ASSERT_OK(guest.machine->pause(kLong));
  auto memory = guest.memory;
  guest.machine.reset();  // as a primary that is demoted: another machine over the same memory

  auto twin = make_machine(GetParam().vcpus, memory);
  twin.load_image(checkpoint.image);
  ASSERT_OK(twin.machine->check_state(checkpoint.state));
  ASSERT_OK(twin.machine->restore(checkpoint.state));
  EXPECT_TRUE(twin.machine->paused());
  EXPECT_FALSE(twin.machine->first_entry().has_value());
  const auto state = copy(twin.machine->save().value());
  EXPECT_EQ(difference_but_for_time(checkpoint.state, state), "");
  EXPECT_TRUE(checkpoint.image == twin.image());
}

INSTANTIATE_TEST_SUITE_P(Guests, MachineRestore,
                         testing::Values(RestoreCase{"counter", counter_guest, 1}, RestoreCase{"port_echo", port_echo_guest, 1},
                                         RestoreCase{"timer", timer_guest, 1}, RestoreCase{"waiting processors", counter_guest, 8},
                                         RestoreCase{"tsc", tsc_guest, 2}),
                         [](const auto& test) { return std::to_string(test.index); });

// The guest checks by itself that each port read gives what was written: an I/O that is lost or done twice ends it.
TEST(MachineRestoreElsewhere, PortIoInFlightIsNeitherLostNorRepeated) {
  std::mt19937 random{1};
  auto guest = boot_machine(port_echo_guest());
  ASSERT_OK(guest.machine->resume());
  for (int round = 0; round < 30; ++round) {
    const std::uint64_t before = guest.word(kGuestData);
    ASSERT_TRUE(guest.wait_word_changes(kGuestData, before));
    run_for(std::chrono::microseconds{random() % 5000});
    const Checkpoint checkpoint = take(guest);
    auto next = make_machine();
    next.load_image(checkpoint.image);
    ASSERT_OK(next.machine->restore(checkpoint.state));
    const std::uint64_t at_checkpoint = next.word(kGuestData);
    EXPECT_GE(at_checkpoint, before);
    ASSERT_OK(next.machine->resume());
    ASSERT_TRUE(next.wait_word_changes(kGuestData, at_checkpoint)) << (next.machine->event() ? next.machine->event()->text : "");
    EXPECT_TRUE(next.machine->first_entry().has_value());
    guest = std::move(next);
  }
  EXPECT_FALSE(guest.machine->event().has_value());
}

TEST(MachineRestoreElsewhere, TheTimersGoOn) {
  for (const auto& code : {timer_guest(), deadline_timer_guest()}) {
    auto guest = boot_machine(code);
    ASSERT_OK(guest.machine->resume());
    for (int round = 0; round < 10; ++round) {
      ASSERT_TRUE(guest.wait_word_changes(kGuestData, guest.word(kGuestData)));
      const Checkpoint checkpoint = take(guest);
      run_for(std::chrono::milliseconds{round});
      auto next = make_machine();
      next.load_image(checkpoint.image);
      ASSERT_OK(next.machine->restore(checkpoint.state));
      ASSERT_OK(next.machine->resume());
      guest = std::move(next);
    }
    ASSERT_TRUE(guest.wait_word_changes(kGuestData, guest.word(kGuestData)));
  }
}

TEST(MachineRestoreElsewhere, WaitingProcessorsAreStartedAfterwards) {
  auto guest = boot_machine(smp_guest(), 4);
  guest.set_word(kGuestData, 5);  // one more than there are: the guest waits for ever
  ASSERT_OK(guest.machine->resume());
  const auto started = [](const GuestMachine& machine) { return machine.word(0x30008) & 0xFFFF; };
  const auto until = std::chrono::steady_clock::now() + kLong;
  while (started(guest) != 3 && std::chrono::steady_clock::now() < until) run_for(std::chrono::milliseconds{1});
  const Checkpoint checkpoint = take(guest);
  auto next = make_machine(4);
  next.load_image(checkpoint.image);
  next.set_word(kGuestData, 4);
  ASSERT_OK(next.machine->restore(checkpoint.state));
  ASSERT_OK(next.machine->resume());
  const auto event = next.watch->wait_end();
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->kind, MachineEventKind::kPowerOff) << event->text;
  EXPECT_EQ(started(next), 3U);
}

// A guest that has both compares TSC and kvmclock, and Linux gives its TSC up when they move half a millisecond apart between two looks, in
// which a drill may put many takeovers: so no restore may move them, and surely none always the same way.
TEST(MachineRestoreElsewhere, ManyRestoresKeepTscAndKvmclockTogether) {
  auto guest = boot_machine(counter_guest(), 2);
  ASSERT_OK(guest.machine->resume());
  run_for(std::chrono::milliseconds{5});
  Checkpoint checkpoint = take(guest);
  const SavedClock first = clock_of(checkpoint.state);
  if (!kvm_honours_tsc_offsets()) GTEST_SKIP() << "this KVM gives the guest the host's TSC, whatever is set";
  for (unsigned i = 0; i < 50; ++i) {
    auto next = make_machine(2);
    next.load_image(checkpoint.image);
    ASSERT_OK(next.machine->restore(checkpoint.state));
    checkpoint.state = copy(next.machine->save().value());
  }
  const SavedClock last = clock_of(checkpoint.state);
  const auto by_tsc_ns = static_cast<double>(last.guest_tsc - first.guest_tsc) * 1e6 / static_cast<double>(first.guest_tsc_khz);
  const auto by_kvmclock_ns = static_cast<double>(last.kvmclock_ns - first.kvmclock_ns);
  EXPECT_LT(std::abs(by_tsc_ns - by_kvmclock_ns), 500'000.0) << by_tsc_ns << " ns by the TSC, " << by_kvmclock_ns << " ns by kvmclock";
}

// Guest time goes on from the checkpoint: what passes between restore and save is all that is added, and nothing of the downtime.
TEST(MachineRestoreElsewhere, GuestTimeGoesOnFromTheCheckpoint) {
  auto guest = boot_machine(counter_guest(), 2);
  ASSERT_OK(guest.machine->resume());
  run_for(std::chrono::milliseconds{20});
  const Checkpoint checkpoint = take(guest);
  const SavedClock saved = clock_of(checkpoint.state);
  run_for(std::chrono::milliseconds{300});  // the downtime
  auto next = make_machine(2);
  next.load_image(checkpoint.image);
  const auto start = std::chrono::steady_clock::now();
  ASSERT_OK(next.machine->restore(checkpoint.state));
  const SavedClock restored = clock_of(copy(next.machine->save().value()));
  const auto spent = static_cast<double>(std::chrono::nanoseconds{std::chrono::steady_clock::now() - start}.count());

  EXPECT_GE(restored.kvmclock_ns, saved.kvmclock_ns);
  EXPECT_LE(static_cast<double>(restored.kvmclock_ns - saved.kvmclock_ns), spent * 1.01);
  EXPECT_GE(restored.guest_tsc, saved.guest_tsc);
  if (!kvm_honours_tsc_offsets()) return;  // there the guest reads the host's TSC, whatever is set
  EXPECT_LE(static_cast<double>(restored.guest_tsc - saved.guest_tsc), spent * 1.01 * static_cast<double>(saved.guest_tsc_khz) / 1e6);
}

TEST(MachineRestoreElsewhere, AMachineTakesOneStateOnly) {
  auto guest = boot_machine(counter_guest());
  const Checkpoint checkpoint = take(guest);
  const auto onto_booted = guest.machine->restore(checkpoint.state);
  ASSERT_FALSE(onto_booted.has_value());
  EXPECT_EQ(onto_booted.error().code(), ErrorCode::kRefused);
  auto next = make_machine();
  next.load_image(checkpoint.image);
  ASSERT_OK(next.machine->restore(checkpoint.state));
  EXPECT_FALSE(next.machine->restore(checkpoint.state).has_value());
  EXPECT_FALSE(next.machine->boot().has_value());
}

}  // namespace
}  // namespace understudy::test
