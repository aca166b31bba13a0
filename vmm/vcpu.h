// One virtual CPU: a thread that is either parked, running the guest, or doing one job (saving or restoring the vCPU's state).
//
// The thread is steered by messages (run, park, job, end) under a lock. To park a running vCPU, the message sets kvm_run::immediate_exit
// and sends the kick signal: whichever comes first, the next KVM_RUN first completes the pending I/O or MMIO and then returns EINTR (KVM
// API 5, KVM_RUN, immediate_exit). EINTR with the message set is the only way to park, so a parked vCPU's state is always whole.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include <linux/kvm.h>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"
#include "vmm/bus.h"
#include "vmm/kvm.h"
#include "vmm/machine_event.h"

namespace understudy {

// Where a vCPU's exits go; all outlive the vCPU.
struct VcpuSurroundings {
  Bus& ports;
  Bus& mmio;
  const Clock& clock;
  // On the vCPU's thread, with no lock held, at most once a vCPU: it never runs again.
  std::function<void(const MachineEvent&)> ended;
};

class Vcpu {
 public:
  using Deadline = std::chrono::steady_clock::time_point;

  // Makes the vCPU and its thread, parked. `vm` outlives it.
  static Result<std::unique_ptr<Vcpu>> create(const Kvm& kvm, KvmVm& vm, unsigned index, VcpuSurroundings surroundings);
  // Parks, ends and joins the thread.
  ~Vcpu();
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

  unsigned index() const { return index_; }
  int fd() const { return fd_.get(); }

  // Messages: any thread. run() has no effect once the guest has ended here.
  void run();
  void request_park();
  // False when the vCPU still ran at `deadline`.
  bool wait_parked(Deadline deadline);
  // Starts a job on the parked vCPU's own thread; finish_job() waits for it. KVM wants a vCPU's ioctls on its own thread (KVM API 2), and
  // so the vCPUs save in parallel. The job must not throw.
  void start_job(std::function<void()> job);
  void finish_job();

  std::optional<Instant> first_entry() const;
  std::uint64_t exits() const { return exits_.load(std::memory_order_relaxed); }

 private:
  struct RunArea {  // the mmap of kvm_run, and what follows it
    kvm_run* run = nullptr;
    std::size_t bytes = 0;
    ~RunArea();
  };
  enum class Wish { kPark, kRun, kEnd };

  Vcpu(UniqueFd fd, unsigned index, VcpuSurroundings surroundings);
  void thread_main();
  void run_guest();  // until parked or ended
  void handle_exit();
  void handle_io();
  void handle_mmio();
  void end(MachineEventKind kind, std::string text);
  void set_immediate_exit(bool on);

  const UniqueFd fd_;
  const unsigned index_;
  const VcpuSurroundings surroundings_;
  RunArea area_;
  std::atomic<std::uint64_t> exits_{0};
  std::atomic<std::int64_t> first_entry_ns_{0};
  bool ended_ = false;  // the vCPU thread's own

  std::mutex mutex_;
  std::condition_variable changed_;
  Wish wish_ = Wish::kPark;    // guarded by mutex_
  bool running_ = false;       // guarded by mutex_
  std::function<void()> job_;  // guarded by mutex_
  bool job_busy_ = false;      // guarded by mutex_
  std::thread thread_;
};

}  // namespace understudy
