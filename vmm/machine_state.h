// A machine's state between KVM and the wire: the only reader and writer of machine.capnp.
//
// Nothing that is decoded is trusted: sizes are checked here, and what they mean for this machine in fits().
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <capnp/message.h>
#include <capnp/serialize.h>

#include "net/base/result.h"
#include "vmm/checkpoint_source.h"
#include "vmm/cpuid.h"
#include "vmm/machine.capnp.h"
#include "vmm/vcpu_state.h"
#include "vmm/vm_state.h"

namespace understudy {

inline constexpr std::uint64_t kMachineStateMagic = 0x4554'4154'534D'5655;  // "UVMSTATE"
inline constexpr std::uint16_t kMachineStateVersion = 1;
inline constexpr std::size_t kMaxMachineStateBytes = std::size_t{16} << 20;

struct MachineState {
  MachineFingerprint fingerprint;
  CpuidTable cpuid;
  std::vector<VcpuState> vcpus;
  InterruptControllersState interrupts;
  SavedClock clock;
};

// Keeps its buffers from one state to the next, so that a save does not allocate once they have grown.
class MachineStateWriter {
 public:
  // `save_devices` fills the devices' list, which has `device_count` places. Valid until the next write().
  Result<std::span<const std::byte>> write(const MachineState& state, std::size_t device_count,
                                           const std::function<void(capnp::List<schema::DeviceState>::Builder)>& save_devices);

 private:
  std::vector<capnp::word> scratch_ = std::vector<capnp::word>(32 * 1024);  // the builder's first segment
  std::vector<std::byte> bytes_;
};

// A decoded state. Its devices are still Cap'n Proto, and are read only within with_devices(), which catches what they throw.
class DecodedMachineState {
 public:
  // kCorrupt: not a state, or cut or damaged; kUnsupportedVersion names both versions. Never throws.
  static Result<DecodedMachineState> decode(std::span<const std::byte> bytes);

  const MachineState& state() const { return state_; }
  Result<void> with_devices(const std::function<Result<void>(capnp::List<schema::DeviceState>::Reader)>& use) const;

 private:
  DecodedMachineState() = default;
  std::vector<capnp::word> words_;
  std::unique_ptr<capnp::FlatArrayMessageReader> reader_;
  MachineState state_;
};

// What a machine must be able to take: from find_vcpu_abilities() and the like, on this host.
struct StateFit {
  MachineFingerprint fingerprint;
  HostTsc tsc;
  VcpuAbilities abilities;
};
// kRefused with the reason when the state cannot be restored on such a machine.
Result<void> fits(const MachineState& state, const StateFit& machine);

}  // namespace understudy
