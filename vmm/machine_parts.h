// What a Machine is made of. Internal to machine*.cpp.
//
// Destroyed from the bottom up: vCPUs stop first, then the devices leave the loop, then the loop ends, and KVM's handles go last.
#pragma once

#include <mutex>
#include <optional>
#include <vector>

#include "vmm/dirty_tracker.h"
#include "vmm/kvm.h"
#include "vmm/kvm_dirty_log.h"
#include "vmm/machine.h"
#include "vmm/machine_state.h"
#include "vmm/vcpu.h"

namespace understudy {

struct Machine::Parts {
  enum class Life {
    kFresh,     // nothing to run yet
    kBooted,    // loaded, never ran
    kRestored,  // restored, never ran
    kRunning,
    kPaused,
    kBroken,  // a restore failed half way: only to be destroyed
  };

  Parts(MachineConfig c, std::shared_ptr<GuestMemory> m, const Clock& k, Kvm handle, KvmVm machine)
      : config{std::move(c)}, memory{std::move(m)}, clock{k}, kvm{std::move(handle)}, vm{std::move(machine)} {}
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  // Fixed once create() is done.
  const MachineConfig config;
  const std::shared_ptr<GuestMemory> memory;
  const Clock& clock;
  Kvm kvm;
  KvmVm vm;
  CpuidTable cpuid;         // vCPU 0's, as it was set
  std::string kernel_help;  // what a Linux guest is told on its command line to be well on this KVM
  StateFit fit;
  std::uint64_t guest_tsc_khz = 0;
  Duration protection_fault{};
  std::unique_ptr<LoopThread> loop;
  std::unique_ptr<DeviceManager> devices;
  std::unique_ptr<KvmDirtyLog> dirty_log;
  std::unique_ptr<DirtyTracker> tracker;

  // The controlling thread's.
  Life life = Life::kFresh;
  MachineState state;  // of the latest save or restore
  MachineStateWriter writer;
  std::optional<std::string> end;  // the guest is over, and how

  // Orders a guest's end against resume(): after it no vCPU is told to run.
  mutable std::mutex event_mutex;
  std::optional<MachineEvent> event;  // guarded by event_mutex

  std::vector<std::unique_ptr<Vcpu>> vcpus;

  // No vCPU may be in guest_ended(), which visits them all, while the first of them goes.
  ~Parts();

  static Result<std::unique_ptr<Parts>> make(MachineConfig config, std::shared_ptr<GuestMemory> memory, const Clock& clock);
  Result<void> build();
  Result<void> build_vcpus();
  Result<void> build_devices();

  // Calls work(i) for every vCPU on its own thread, all at once, and waits; the first error by index.
  Result<void> on_every_vcpu(const std::function<Result<void>(unsigned)>& work);
  void guest_ended(const MachineEvent& what);
  void guest_told(std::uint8_t pvpanic_bits);
  Result<void> check_not_ended() const;
  Result<void> park_all(Vcpu::Deadline deadline);
  // kUnavailable, with the event, when the guest has ended.
  Result<void> run_all();
  Result<void> apply(const DecodedMachineState& decoded);
  Result<void> apply_clock();
};

}  // namespace understudy
