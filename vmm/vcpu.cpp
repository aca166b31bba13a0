#include "vmm/vcpu.h"

#include <csignal>
#include <pthread.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>

#include "net/base/check.h"
#include "vmm/exit_report.h"

namespace understudy {
namespace {

int kick_signal() { return SIGRTMIN; }

// The signal's only purpose is to make KVM_RUN return.
void install_kick_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    US_CHECK(::sigaction(kick_signal(), &action, nullptr) == 0);
  });
}

void unblock_kick_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, kick_signal());
  US_CHECK(::pthread_sigmask(SIG_UNBLOCK, &set, nullptr) == 0);
}

}  // namespace

Vcpu::RunArea::~RunArea() {
  if (run != nullptr) ::munmap(run, bytes);
}

Result<std::unique_ptr<Vcpu>> Vcpu::create(const Kvm& kvm, KvmVm& vm, unsigned index, VcpuSurroundings surroundings) {
  install_kick_handler();
  US_ASSIGN(const std::size_t bytes, kvm.vcpu_mmap_bytes());
  if (bytes < sizeof(kvm_run))
    return Error{ErrorCode::kUnsupportedVersion, "KVM_GET_VCPU_MMAP_SIZE gives " + std::to_string(bytes) + " bytes, less than kvm_run has"};
  US_ASSIGN(UniqueFd fd, vm.create_vcpu(index));
  void* const base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (base == MAP_FAILED) return Error::from_errno("map kvm_run of vCPU " + std::to_string(index));
  std::unique_ptr<Vcpu> vcpu{new Vcpu{std::move(fd), index, std::move(surroundings)}};
  vcpu->area_.run = static_cast<kvm_run*>(base);
  vcpu->area_.bytes = bytes;
  vcpu->thread_ = std::thread{[raw = vcpu.get()] { raw->thread_main(); }};
  ::pthread_setname_np(vcpu->thread_.native_handle(), ("vcpu" + std::to_string(index)).c_str());
  return vcpu;
}

Vcpu::Vcpu(UniqueFd fd, unsigned index, VcpuSurroundings surroundings)
    : fd_{std::move(fd)}, index_{index}, surroundings_{std::move(surroundings)} {}

Vcpu::~Vcpu() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock{mutex_};
    wish_ = Wish::kEnd;
    set_immediate_exit(true);
    if (running_) ::pthread_kill(thread_.native_handle(), kick_signal());
    changed_.notify_all();
  }
  thread_.join();
}

void Vcpu::set_immediate_exit(bool on) { std::atomic_ref<__u8>{area_.run->immediate_exit}.store(on ? 1 : 0, std::memory_order_relaxed); }

void Vcpu::run() {
  const std::lock_guard lock{mutex_};
  wish_ = Wish::kRun;
  // A vCPU that was asked to park and has not noticed yet goes on without parking.
  set_immediate_exit(false);
  changed_.notify_all();
}

void Vcpu::request_park() {
  const std::lock_guard lock{mutex_};
  if (wish_ != Wish::kRun) return;
  wish_ = Wish::kPark;
  set_immediate_exit(true);
  if (running_) ::pthread_kill(thread_.native_handle(), kick_signal());
}

bool Vcpu::wait_parked(Deadline deadline) {
  std::unique_lock lock{mutex_};
  return changed_.wait_until(lock, deadline, [this] { return !running_ && wish_ == Wish::kPark; });
}

void Vcpu::start_job(std::function<void()> job) {
  const std::lock_guard lock{mutex_};
  US_CHECK(!running_ && wish_ == Wish::kPark && !job_busy_);
  job_ = std::move(job);
  job_busy_ = true;
  changed_.notify_all();
}

void Vcpu::finish_job() {
  std::unique_lock lock{mutex_};
  changed_.wait(lock, [this] { return !job_busy_; });
}

std::optional<Instant> Vcpu::first_entry() const {
  const std::int64_t ns = first_entry_ns_.load(std::memory_order_acquire);
  if (ns == 0) return std::nullopt;
  return Instant{Duration{ns}};
}

void Vcpu::thread_main() {
  unblock_kick_signal();
  std::unique_lock lock{mutex_};
  for (;;) {
    changed_.wait(lock, [this] { return job_busy_ || wish_ == Wish::kEnd || (wish_ == Wish::kRun && !ended_); });
    if (job_busy_) {
      lock.unlock();
      job_();
      lock.lock();
      job_ = nullptr;
      job_busy_ = false;
      changed_.notify_all();
      continue;
    }
    if (wish_ == Wish::kEnd) return;
    running_ = true;
    lock.unlock();
    run_guest();
    lock.lock();
    running_ = false;
    changed_.notify_all();
  }
}

void Vcpu::run_guest() {
  if (first_entry_ns_.load(std::memory_order_relaxed) == 0)
    first_entry_ns_.store(to_ns(surroundings_.clock.now()), std::memory_order_release);
  while (!ended_) {
    const int result = ::ioctl(fd_.get(), KVM_RUN, 0);
    exits_.fetch_add(1, std::memory_order_relaxed);
    if (result == 0) {
      handle_exit();
    } else if (errno == EINTR) {
      // Pending I/O is complete by now. Without the message it was somebody else's signal, or a kick that was taken back.
      if (std::atomic_ref<__u8>{area_.run->immediate_exit}.load(std::memory_order_relaxed) != 0) return;
    } else if (errno != EAGAIN) {  // EAGAIN: a waiting processor was woken, and looks again
      end(MachineEventKind::kInternalError, describe_run_failure(fd_.get(), index_, errno));
    }
  }
}

void Vcpu::handle_exit() {
  const kvm_run& run = *area_.run;
  switch (run.exit_reason) {
    case KVM_EXIT_IO:
      handle_io();
      return;
    case KVM_EXIT_MMIO:
      handle_mmio();
      return;
    case KVM_EXIT_INTR:
      return;
    case KVM_EXIT_SHUTDOWN:
      end(MachineEventKind::kTripleFault, describe_triple_fault(fd_.get(), index_));
      return;
    case KVM_EXIT_SYSTEM_EVENT:
      if (run.system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN) return end(MachineEventKind::kPowerOff, "the guest powered off");
      if (run.system_event.type == KVM_SYSTEM_EVENT_RESET) return end(MachineEventKind::kReset, "the guest asked for a reset");
      break;
    default:
      break;
  }
  end(MachineEventKind::kInternalError, describe_exit(fd_.get(), index_, run));
}

void Vcpu::handle_io() {
  const auto& io = area_.run->io;
  // KVM places the data behind kvm_run; its own bounds are checked all the same, since a wrong one would be ours to write through.
  const std::uint64_t length = std::uint64_t{io.size} * io.count;
  US_CHECK(io.data_offset <= area_.bytes && length <= area_.bytes - io.data_offset);
  std::byte* data = reinterpret_cast<std::byte*>(area_.run) + io.data_offset;
  for (std::uint32_t i = 0; i < io.count; ++i, data += io.size) {
    const MutableBytes bytes{data, io.size};
    if (io.direction == KVM_EXIT_IO_IN) {
      surroundings_.ports.read(io.port, bytes);
    } else if (const auto wish = control_request(io.port, bytes)) {
      return end(*wish, "the guest asked for a " + std::string{name_of(*wish)} + " on vCPU " + std::to_string(index_));
    } else {
      surroundings_.ports.write(io.port, bytes);
    }
  }
}

void Vcpu::handle_mmio() {
  auto& mmio = area_.run->mmio;
  US_CHECK(mmio.len <= sizeof mmio.data);
  const MutableBytes bytes{reinterpret_cast<std::byte*>(mmio.data), mmio.len};
  if (mmio.is_write != 0)
    surroundings_.mmio.write(mmio.phys_addr, bytes);
  else
    surroundings_.mmio.read(mmio.phys_addr, bytes);
}

void Vcpu::end(MachineEventKind kind, std::string text) {
  ended_ = true;
  surroundings_.ended(MachineEvent{kind, index_, std::move(text)});
}

}  // namespace understudy
