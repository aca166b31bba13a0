#include "vmm/protection_fault.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <vector>

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "net/base/log.h"
#include "vmm/kvm_dirty_log.h"

namespace understudy {
namespace {

constexpr std::uint64_t kMemoryBytes = GuestMemory::kMinBytes;
constexpr GuestPhysicalAddress kTables{0x1000};  // three of them
constexpr GuestPhysicalAddress kCode{0x8000};
constexpr std::uint64_t kFirstWritten = 0x20'0000;
constexpr std::uint64_t kWrittenPages = 128;
constexpr Duration kUnmeasured = std::chrono::microseconds{2};

// In ring 3, since without hardware virtualization only that runs natively, and so faults as a guest's work does.
constexpr std::array<std::uint8_t, 15> kProgram{
    0x48, 0x89, 0x0F,                          // 1: mov %rcx, (%rdi)
    0x48, 0x81, 0xC7, 0x00, 0x10, 0x00, 0x00,  //    add $4096, %rdi
    0xFF, 0xC9,                                //    dec %ecx
    0x75, 0xF2,                                //    jnz 1b
    0xEE,                                      //    out %al, (%dx)
};

void write_program(GuestMemory& memory) {
  constexpr std::uint64_t kUserTable = 0x7;  // present, writable, user's
  constexpr std::uint64_t kLargePage = 0x80;
  std::array<std::uint64_t, 3 * 512> tables{};
  tables[0] = (kTables.raw() + kPageSizeBytes) | kUserTable;
  tables[512] = (kTables.raw() + 2 * kPageSizeBytes) | kUserTable;
  for (std::uint64_t i = 0; i < kMemoryBytes >> 21; ++i) tables[1024 + i] = i << 21 | kUserTable | kLargePage;
  memory.write(kTables, std::as_bytes(std::span{tables}));
  memory.write(kCode, std::as_bytes(std::span{kProgram}));
}

kvm_segment user_segment(std::uint16_t selector, std::uint8_t type, bool code) {
  kvm_segment segment{};
  segment.limit = 0xFFFF'FFFF;
  segment.selector = selector;
  segment.type = type;
  segment.present = segment.s = segment.g = 1;
  segment.dpl = 3;
  segment.l = code ? 1 : 0;
  segment.db = code ? 0 : 1;
  return segment;
}

Result<void> enter_user_mode(int vcpu) {
  kvm_sregs2 sregs{};
  US_TRY(US_KVM_IOCTL(vcpu, KVM_GET_SREGS2, &sregs));
  sregs.cs = user_segment(0x1B, 0xB, true);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = user_segment(0x23, 0x3, false);
  sregs.tr = {};
  sregs.tr.limit = 0x67;
  sregs.tr.type = 0xB;
  sregs.tr.present = 1;
  sregs.idt.limit = 0;
  sregs.cr0 = 0x8000'0031;  // PG, NE, ET, PE
  sregs.cr3 = kTables.raw();
  sregs.cr4 = 1 << 5;  // PAE
  sregs.efer = 0x500;  // LME, LMA
  US_TRY(US_KVM_IOCTL(vcpu, KVM_SET_SREGS2, &sregs));
  return {};
}

class RunArea {
 public:
  static Result<RunArea> map(const Kvm& kvm, int vcpu) {
    US_ASSIGN(const std::size_t bytes, kvm.vcpu_mmap_bytes());
    void* const base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (base == MAP_FAILED) return Error::from_errno("map kvm_run");
    return RunArea{static_cast<kvm_run*>(base), bytes};
  }
  RunArea(RunArea&& other) noexcept : run_{std::exchange(other.run_, nullptr)}, bytes_{other.bytes_} {}
  RunArea& operator=(RunArea&&) = delete;
  ~RunArea() {
    if (run_ != nullptr) ::munmap(run_, bytes_);
  }
  const kvm_run& operator*() const { return *run_; }

 private:
  RunArea(kvm_run* run, std::size_t bytes) : run_{run}, bytes_{bytes} {}
  kvm_run* run_;
  std::size_t bytes_;
};

// One round of writes; how long it took.
Result<Duration> run_round(int vcpu, const RunArea& area, const Clock& clock) {
  kvm_regs regs{};
  regs.rip = kCode.raw();
  regs.rflags = 0x3002;  // IOPL 3: it may use the port
  regs.rdi = kFirstWritten;
  regs.rcx = kWrittenPages;
  regs.rdx = 0x80;
  US_TRY(US_KVM_IOCTL(vcpu, KVM_SET_REGS, &regs));
  const Instant began = clock.now();
  for (int tries = 0; tries < 100; ++tries) {
    if (::ioctl(vcpu, KVM_RUN, 0) < 0 && errno != EINTR && errno != EAGAIN) return Error::from_errno("KVM_RUN");
    if ((*area).exit_reason == KVM_EXIT_IO) return clock.now() - began;
  }
  return Error{ErrorCode::kFailed, fmt::format("the guest left with exit reason {}", (*area).exit_reason)};
}

}  // namespace

Result<Duration> measure_protection_fault(const Kvm& kvm, const Clock& clock) {
  constexpr int kRounds = 3;
  US_ASSIGN(KvmVm vm, kvm.create_vm());
  US_TRY(vm.set_vmx_pages());
  US_TRY(vm.enable_capabilities());
  US_ASSIGN(const auto memory, GuestMemory::create(kMemoryBytes));
  write_program(*memory);
  US_TRY(vm.set_memory(*memory, 0));
  US_ASSIGN(const UniqueFd vcpu, vm.create_vcpu(0));
  US_ASSIGN(const RunArea area, RunArea::map(kvm, vcpu.get()));
  US_TRY(enter_user_mode(vcpu.get()));
  US_TRY(run_round(vcpu.get(), area, clock));
  KvmDirtyLog log{vm, *memory};
  DirtyTracker tracker{log, memory->layout(), memory->host_writes()};
  US_TRY(tracker.start());
  PageSet written{memory->page_count()};
  Duration best = Duration::max();
  for (int round = 0; round < kRounds; ++round) {  // the least disturbed one counts
    US_ASSIGN(const Duration with_faults, run_round(vcpu.get(), area, clock));
    US_ASSIGN(const Duration without, run_round(vcpu.get(), area, clock));
    best = std::min(best, with_faults - without);
    US_TRY(tracker.harvest(written));
  }
  return std::max(best / static_cast<Duration::rep>(kWrittenPages), Duration{1});
}

Duration protection_fault_here(const Kvm& kvm, const Clock& clock) {
  static std::once_flag once;
  static Duration measured;
  std::call_once(once, [&] {
    const auto found = measure_protection_fault(kvm, clock);
    measured = found ? *found : kUnmeasured;
    if (!found)
      log(Severity::kWarning, "cost of a protection fault not measured; hardware virtualization's is assumed",
          {{"reason", found.error().text()}});
  });
  return measured;
}

}  // namespace understudy
