#include "vmm/exit_report.h"

#include <algorithm>

#include <fmt/format.h>

#include "vmm/kvm.h"

namespace understudy {
namespace {

constexpr std::uint64_t kCr0ProtectionEnable = 1;
constexpr std::uint64_t kEferLongModeActive = 1 << 10;

const char* mode_of(const kvm_sregs& sregs) {
  if ((sregs.cr0 & kCr0ProtectionEnable) == 0) return "real mode";
  if ((sregs.efer & kEferLongModeActive) == 0) return "protected mode";
  return sregs.cs.l != 0 ? "64-bit mode" : "compatibility mode";
}

// "vCPU 0 at RIP 0x100000, 64-bit mode, ring 0"
std::string place(int vcpu_fd, unsigned index) {
  kvm_regs regs{};
  kvm_sregs sregs{};
  if (!US_KVM_IOCTL(vcpu_fd, KVM_GET_REGS, &regs) || !US_KVM_IOCTL(vcpu_fd, KVM_GET_SREGS, &sregs))
    return fmt::format("vCPU {} (its registers cannot be read)", index);
  return fmt::format("vCPU {} at RIP {:#x}, {}, ring {}, CR2 {:#x}, CR3 {:#x}", index, regs.rip, mode_of(sregs), sregs.cs.selector & 3U,
                     sregs.cr2, sregs.cr3);
}

const char* suberror_name(std::uint32_t suberror) {
  switch (suberror) {
    case KVM_INTERNAL_ERROR_EMULATION:
      return "it cannot emulate the instruction";
    case KVM_INTERNAL_ERROR_SIMUL_EX:
      return "exceptions at the same time";
    case KVM_INTERNAL_ERROR_DELIVERY_EV:
      return "an exit while delivering an event";
    case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
      return "an exit it does not know";
    default:
      return "a reason unknown here";
  }
}

std::string internal_error(const kvm_run& run) {
  const auto& internal = run.internal;
  std::string text = fmt::format("KVM gave up with suberror {} ({})", internal.suberror, suberror_name(internal.suberror));
  const std::uint32_t count = std::min(internal.ndata, static_cast<std::uint32_t>(std::size(internal.data)));
  const auto& failure = run.emulation_failure;
  if (internal.suberror == KVM_INTERNAL_ERROR_EMULATION && count >= 3 &&
      (failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0) {
    text += ", instruction bytes";
    for (std::size_t i = 0; i < std::min<std::size_t>(failure.insn_size, std::size(failure.insn_bytes)); ++i)
      text += fmt::format(" {:02x}", failure.insn_bytes[i]);
  } else {
    for (std::uint32_t i = 0; i < count; ++i) text += fmt::format("{}{:#x}", i == 0 ? ", data " : " ", internal.data[i]);
  }
  return text;
}

}  // namespace

std::string describe_triple_fault(int vcpu_fd, unsigned index) { return "triple fault: " + place(vcpu_fd, index); }

std::string describe_exit(int vcpu_fd, unsigned index, const kvm_run& run) {
  const std::string where = place(vcpu_fd, index);
  switch (run.exit_reason) {
    case KVM_EXIT_INTERNAL_ERROR:
      return internal_error(run) + ": " + where;
    case KVM_EXIT_FAIL_ENTRY:
      return fmt::format("the processor refused to enter the guest, hardware reason {:#x} on CPU {}: {}",
                         run.fail_entry.hardware_entry_failure_reason, run.fail_entry.cpu, where);
    case KVM_EXIT_UNKNOWN:
      return fmt::format("the guest exited for hardware reason {:#x}, which KVM does not know: {}", run.hw.hardware_exit_reason, where);
    default:
      return fmt::format("exit reason {}, which this machine does not know: {}", run.exit_reason, where);
  }
}

std::string describe_run_failure(int vcpu_fd, unsigned index, int error_number) {
  return Error::from_errno("KVM_RUN", error_number).text() + ": " + place(vcpu_fd, index);
}

}  // namespace understudy
