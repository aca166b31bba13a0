// States that do not fit, and states that are damaged: refused with the reason, and the machine is as it was.
#include <cstring>
#include <functional>
#include <random>

#include <capnp/serialize.h>

#include "machine_fixture.h"
#include "vmm/machine.capnp.h"
#include "vmm/machine_state.h"

namespace understudy::test {
namespace {

std::vector<std::byte> saved_state(unsigned vcpus = 1) {
  auto guest = boot_machine(counter_guest(), vcpus);
  return copy(guest.machine->save().value());
}

// The same state with something changed.
std::vector<std::byte> changed(std::span<const std::byte> state, const std::function<void(schema::MachineState::Builder)>& change) {
  std::vector<capnp::word> words(state.size() / sizeof(capnp::word));
  std::memcpy(words.data(), state.data(), state.size());
  capnp::FlatArrayMessageReader reader{kj::arrayPtr(words.data(), words.size())};
  capnp::MallocMessageBuilder builder;
  builder.setRoot(reader.getRoot<schema::MachineState>());
  change(builder.getRoot<schema::MachineState>());
  const auto flat = capnp::messageToFlatArray(builder);
  return copy(std::as_bytes(std::span{flat.begin(), flat.size()}));
}

struct RefusedState {
  const char* name;
  std::function<void(schema::MachineState::Builder)> change;
  ErrorCode code;
  const char* names;
};

TEST(MachineRefuse, StatesThatDoNotFit) {
  const RefusedState cases[] = {
      {"version", [](auto state) { state.setVersion(7); }, ErrorCode::kUnsupportedVersion, "version 7, this program reads version 1"},
      {"magic", [](auto state) { state.setMagic(1); }, ErrorCode::kCorrupt, "magic"},
      {"layout", [](auto state) { state.getFingerprint().getLayout()[0].setPageCount(17); }, ErrorCode::kRefused, "memory layouts differ"},
      {"vCPUs", [](auto state) { state.getFingerprint().setVcpuCount(3); }, ErrorCode::kRefused, "vCPU counts differ"},
      {"no vCPUs", [](auto state) { state.initVcpus(0); }, ErrorCode::kRefused, "0 vCPUs, this machine 1"},
      {"device", [](auto state) { state.getFingerprint().getDeviceIds().set(0, "floppy0"); }, ErrorCode::kRefused, "floppy0"},
      {"device sections", [](auto state) { state.initDevices(0); }, ErrorCode::kInvalid, "has 0 devices"},
      {"feature",
       [](auto state) {
         auto words = state.getFingerprint().getCpuFeatureWords();
         words.set(0, 0xFFFF'FFFF);
       },
       ErrorCode::kRefused, "features that the guest uses: "},
      {"XSAVE", [](auto state) { state.getVcpus()[0].initXsave(64); }, ErrorCode::kRefused, "XSAVE"},
      {"MSR", [](auto state) { state.getVcpus()[0].getMsrs()[0].setIndex(0xDEAD); }, ErrorCode::kRefused, "MSR 0xdead"},
      {"registers", [](auto state) { state.getVcpus()[0].initRegs(3); }, ErrorCode::kCorrupt, "kvm_regs has 3 bytes"},
      {"IOAPIC", [](auto state) { state.getInterrupts().initIoapic(0); }, ErrorCode::kCorrupt, "IOAPIC"},
      {"TSC frequency of zero", [](auto state) { state.getClock().setGuestTscKhz(0); }, ErrorCode::kRefused, "0 kHz"},
  };
  const auto state = saved_state();
  auto machine = make_machine();
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto wrong = changed(state, c.change);
    const auto checked = machine.machine->check_state(wrong);
    ASSERT_FALSE(checked.has_value());
    EXPECT_EQ(checked.error().code(), c.code) << checked.error().text();
    EXPECT_NE(checked.error().text().find(c.names), std::string::npos) << checked.error().text();
    const auto restored = machine.machine->restore(wrong);
    ASSERT_FALSE(restored.has_value());
    EXPECT_EQ(restored.error().text(), checked.error().text());
  }
  // Nothing of it has touched the machine.
  ASSERT_OK(machine.machine->check_state(state));
  ASSERT_OK(machine.machine->restore(state));
}

TEST(MachineRefuse, ATscFrequencyThatCannotBeScaled) {
  const auto state = saved_state();
  auto machine = make_machine();
  const auto fingerprint = machine.machine->fingerprint();
  const auto faster = changed(state, [&](auto s) {
    s.getClock().setGuestTscKhz(fingerprint.tsc_khz * 2);
    s.getFingerprint().setTscKhz(fingerprint.tsc_khz * 2);
  });
  const auto checked = machine.machine->check_state(faster);
  EXPECT_EQ(checked.has_value(), fingerprint.tsc_scalable);
  if (!checked) {
    EXPECT_NE(checked.error().text().find("kHz"), std::string::npos) << checked.error().text();
  }
}

TEST(MachineRefuse, AnotherVcpuCountOrMemorySize) {
  const auto two = saved_state(2);
  auto machine = make_machine();
  EXPECT_FALSE(machine.machine->check_state(two).has_value());
  auto larger = make_machine(2, nullptr, kTestMemoryBytes * 2);
  EXPECT_FALSE(larger.machine->check_state(two).has_value());
}

TEST(MachineRefuse, TruncatedStates) {
  const auto state = saved_state();
  auto machine = make_machine();
  for (std::size_t size = 0; size < state.size(); size += 1 + size / 16)
    EXPECT_FALSE(machine.machine->check_state(std::span{state}.first(size)).has_value()) << size;
}

// A flipped bit in a register is for the epoch's digest to find; here nothing may crash, hang or half-restore.
TEST(MachineRefuse, FlippedBitsAreSurvived) {
  const auto state = saved_state();
  auto machine = make_machine();
  std::mt19937 random{7};
  for (int round = 0; round < 3000; ++round) {
    auto damaged = state;
    for (auto flips = 1 + random() % 3; flips > 0; --flips)
      damaged[random() % (round % 2 == 0 ? damaged.size() : 256)] ^= std::byte{static_cast<std::uint8_t>(1U << (random() % 8))};
    if (const auto checked = machine.machine->check_state(damaged); !checked) {
      EXPECT_FALSE(checked.error().text().empty());
    }
  }
  ASSERT_OK(machine.machine->restore(state));
}

}  // namespace
}  // namespace understudy::test
