// The ways into a kernel, and the power button as a way out.
#include <string>
#include <string_view>

#include <gmock/gmock.h>

#include "machine_fixture.h"
#include "tests/support/kernel_files.h"

namespace understudy::test {
namespace {

std::string_view text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// Boots the kernel file and runs it to its end.
struct Booted {
  explicit Booted(std::span<const std::byte> file, std::uint64_t memory_bytes = kTestMemoryBytes) {
    const TemporaryFile kernel{file};
    MachineConfig config;
    config.kernel_path = kernel.path();
    config.command_line = "console=ttyS0";
    config.devices.serial_sink = [this](ConstBytes bytes) { watch.output(bytes); };
    config.on_event = [this](const MachineEvent& event) { watch.ended(event); };
    auto made = Machine::create(std::move(config), GuestMemory::create(memory_bytes).value(), clock);
    if (!made) ADD_FAILURE() << made.error().text();
    machine = std::move(*made);
    if (auto booted = machine->boot(); !booted) ADD_FAILURE() << booted.error().text();
    if (auto resumed = machine->resume(); !resumed) ADD_FAILURE() << resumed.error().text();
    const auto event = watch.wait_end();
    EXPECT_TRUE(event && event->kind == MachineEventKind::kPowerOff) << (event ? event->text : "no end");
  }
  MonotonicClock clock;
  GuestWatch watch;
  std::unique_ptr<Machine> machine;
};

TEST(MachineBoot, ABootImageIsEnteredWhereItsHeaderSays) {
  BzImageFile file;
  file.header.pref_address = 0x20'0000;
  EXPECT_EQ(Booted{file.bytes(text_of(hello_guest()))}.watch.serial(), "hello\n");
}

TEST(MachineBoot, PvhEntersProtectedModeWithAStartInfo) {
  const std::string code = std::string(0x20, '\xCC').append(text_of(pvh_guest()));
  // It prints its command line, the devices' words included; before them may stand what helps a guest where KVM overrides its CPU model.
  const std::string line = Booted{Elf32File{}.bytes(code)}.watch.serial();
  EXPECT_THAT(line, testing::AllOf(testing::StartsWith("console=ttyS0 "), testing::HasSubstr(" virtio_mmio.device=4K@0x")));
}

TEST(MachineBoot, ThePowerButtonReachesTheGuestAlsoAcrossARestore) {
  auto guest = boot_machine(power_button_guest());
  ASSERT_OK(guest.machine->resume());
  ASSERT_TRUE(guest.wait_word_changes(kGuestData, 1));
  EXPECT_TRUE(guest.machine->press_power_button());
  ASSERT_TRUE(guest.wait_word_changes(kGuestData, 2));
  EXPECT_EQ(guest.word(kGuestData), 3U);

  // Pressed while the guest stands still: the press is part of the state, and the twin's guest takes it.
  ASSERT_OK(guest.machine->pause(kLong));
  EXPECT_TRUE(guest.machine->press_power_button());
  const auto state = copy(guest.machine->save().value());
  auto twin = make_machine();
  twin.load_image(guest.image());
  ASSERT_OK(twin.machine->restore(state));
  ASSERT_OK(twin.machine->resume());
  const auto event = twin.watch->wait_end();
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->kind, MachineEventKind::kPowerOff) << event->text;
  EXPECT_EQ(twin.word(kGuestData), 4U);
}

TEST(MachineBoot, AGuestThatDoesNotListenIsNamedSo) {
  auto guest = boot_machine(counter_guest());
  EXPECT_FALSE(guest.machine->press_power_button());
}

}  // namespace
}  // namespace understudy::test
