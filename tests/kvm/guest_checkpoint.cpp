#include "tests/kvm/guest_checkpoint.h"

#include <cstring>
#include <stdexcept>

#include <capnp/any.h>

#include "vmm/machine_state.h"

namespace understudy::test {
namespace {

void must(const Result<void>& result) {
  if (!result) throw std::runtime_error{result.error().text()};
}

template <class Plain>
bool same(const Plain& left, const Plain& right) {
  return std::memcmp(&left, &right, sizeof left) == 0;
}

constexpr std::size_t kLapicTimerCount = 0x390;
// The processor priority, which follows from the task priority and what is in service: KVM brings it up to date now and then.
constexpr std::size_t kLapicProcessorPriority = 0xA0;

std::string difference_of_vcpus(const VcpuState& left, const VcpuState& right) {
  if (left.mp_state.mp_state != right.mp_state.mp_state) return "MP state";
  if (!same(left.regs, right.regs)) return "registers";
  if (!same(left.sregs, right.sregs)) return "system registers";
  if (left.xsave != right.xsave) return "XSAVE area";
  if (!same(left.xcrs, right.xcrs)) return "XCRs";
  if (!same(left.debug_regs, right.debug_regs)) return "debug registers";
  if (!same(left.events, right.events)) return "events";
  for (std::size_t at = 0; at < sizeof left.lapic.regs; ++at) {
    if (at / 4 == kLapicTimerCount / 4 || at / 4 == kLapicProcessorPriority / 4) continue;
    if (left.lapic.regs[at] != right.lapic.regs[at]) return "LAPIC at " + std::to_string(at);
  }
  if (left.msrs.size() != right.msrs.size()) return "number of MSRs";
  for (std::size_t i = 0; i < left.msrs.size(); ++i) {
    if (left.msrs[i].index != right.msrs[i].index || left.msrs[i].data != right.msrs[i].data)
      return "MSR " + std::to_string(left.msrs[i].index);
  }
  return {};
}

std::string difference_of_controllers(const InterruptControllersState& left, const InterruptControllersState& right) {
  if (!same(left.pic_master, right.pic_master)) return "master PIC";
  if (!same(left.pic_slave, right.pic_slave)) return "slave PIC";
  if (!same(left.ioapic, right.ioapic)) return "IOAPIC";
  for (std::size_t i = 0; i < 3; ++i) {
    kvm_pit_channel_state a = left.pit.channels[i];
    kvm_pit_channel_state b = right.pit.channels[i];
    a.count_load_time = b.count_load_time = 0;
    if (!same(a, b)) return "PIT channel " + std::to_string(i);
  }
  return left.pit.flags == right.pit.flags ? "" : "PIT flags";
}

std::string difference_of_devices(const DecodedMachineState& left, const DecodedMachineState& right) {
  std::string found;
  must(left.with_devices([&](capnp::List<schema::DeviceState>::Reader a) {
    return right.with_devices([&](capnp::List<schema::DeviceState>::Reader b) -> Result<void> {
      if (a.size() != b.size()) found = "number of devices";
      for (unsigned i = 0; found.empty() && i < a.size(); ++i) {
        const capnp::AnyStruct::Reader one{a[i]};
        const capnp::AnyStruct::Reader other{b[i]};
        if (one != other) found = std::string{"device "} + a[i].getId().cStr();
      }
      return {};
    });
  }));
  return found;
}

}  // namespace

GuestCheckpoint take_checkpoint(GuestHost& host) {
  GuestCheckpoint out;
  Machine& machine = host.machine();
  must(machine.pause(kPauseDeadline));
  const auto state = machine.save();
  if (!state) throw std::runtime_error{state.error().text()};
  out.state.assign(state->begin(), state->end());
  const auto memory = host.memory()->file();
  out.memory.assign(memory.begin(), memory.end());
  if (host.has_disk()) {
    out.disk_requests = host.disk().in_flight();
    out.disk = host.disk().content();
  }
  if (host.has_net()) out.frames_sent = host.net().held();
  must(machine.resume());
  return out;
}

std::unique_ptr<GuestHost> restore_checkpoint(const GuestHostConfig& config, const GuestCheckpoint& checkpoint) {
  GuestHostConfig twin = config;
  twin.disk = checkpoint.disk;
  auto host = std::make_unique<GuestHost>(twin);
  std::memcpy(host->memory()->file().data(), checkpoint.memory.data(), checkpoint.memory.size());
  must(host->machine().check_state(checkpoint.state));
  must(host->machine().restore(checkpoint.state));
  return host;
}

std::string difference_of_states(std::span<const std::byte> left_bytes, std::span<const std::byte> right_bytes) {
  const auto left = DecodedMachineState::decode(left_bytes);
  const auto right = DecodedMachineState::decode(right_bytes);
  if (!left) return left.error().text();
  if (!right) return right.error().text();
  if (left->state().vcpus.size() != right->state().vcpus.size()) return "number of vCPUs";
  for (std::size_t i = 0; i < left->state().vcpus.size(); ++i) {
    const std::string found = difference_of_vcpus(left->state().vcpus[i], right->state().vcpus[i]);
    if (!found.empty()) return "vCPU " + std::to_string(i) + ": " + found;
  }
  if (const std::string found = difference_of_controllers(left->state().interrupts, right->state().interrupts); !found.empty())
    return found;
  return difference_of_devices(*left, *right);
}

}  // namespace understudy::test
