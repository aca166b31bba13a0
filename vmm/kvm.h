// Handles to KVM and to one of its virtual machines: every system call on them is a Result that names the ioctl.
//
// Source: Documentation/virt/kvm/api.rst, "KVM API" below. Threading: a KVM fd may be used by any thread; the kernel has its own locks.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include <linux/kvm.h>

#include "net/base/result.h"
#include "net/base/unique_fd.h"
#include "vmm/checkpoint_source.h"
#include "vmm/guest_memory.h"

namespace understudy {

// ioctl(2) that says what failed: "KVM_SET_LAPIC: Invalid argument (EINVAL)". The value is what ioctl returned (0 or more).
Result<int> kvm_ioctl(int fd, unsigned long request, void* argument, std::string_view name);
Result<int> kvm_ioctl(int fd, unsigned long request, unsigned long argument, std::string_view name);
#define US_KVM_IOCTL(fd, request, argument) ::understudy::kvm_ioctl((fd), (request), (argument), #request)

class KvmVm;

class Kvm {
 public:
  // kUnavailable with the mend when the device is missing; kUnsupportedVersion when the API is not 12 or a needed capability is missing,
  // which it names.
  static Result<Kvm> open(const char* path = "/dev/kvm");

  // KVM_CHECK_EXTENSION on the system (KVM API 4.4): 0 means no; an error counts as no.
  int capability(int cap) const;
  Result<KvmVm> create_vm() const;
  // Size of the shared kvm_run area of a vCPU (KVM API 4.5).
  Result<std::size_t> vcpu_mmap_bytes() const;
  Result<std::vector<kvm_cpuid_entry2>> supported_cpuid() const;
  // KVM_GET_MSR_INDEX_LIST: the MSRs that a guest's state consists of (KVM API 4.3).
  Result<std::vector<std::uint32_t>> msr_indices() const;

 private:
  explicit Kvm(UniqueFd fd) : fd_{std::move(fd)} {}
  UniqueFd fd_;
};

// One virtual machine, with in-kernel PIC, IOAPIC, LAPICs and PIT.
class KvmVm {
 public:
  int fd() const { return fd_.get(); }

  // Before any vCPU: the pages that VMX needs for real mode, in the 32-bit hole's end (KVM API 4.16, 4.36).
  Result<void> set_vmx_pages();
  Result<void> create_irqchip_and_pit();
  Result<UniqueFd> create_vcpu(unsigned index);
  // Makes each region of guest memory a slot, in order from slot 0; a flag of KVM_MEM_LOG_DIRTY_PAGES may be changed later.
  Result<void> set_memory(const GuestMemory& memory, std::uint32_t flags);
  // Before any vCPU: reading the dirty log does not clear it (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, with KVM_DIRTY_LOG_INITIALLY_SET where
  // there is one), and a pending exception or triple fault is saved as such (KVM_CAP_EXCEPTION_PAYLOAD, KVM_CAP_X86_TRIPLE_FAULT_EVENT).
  Result<void> enable_capabilities();
  // Each signal of the eventfd is one edge on `gsi` (KVM API 4.75).
  Result<void> add_irqfd(int fd, std::uint32_t gsi);
  // A 4-byte MMIO write of `value` at `address` signals the eventfd, without an exit (KVM API 4.59).
  Result<void> add_ioeventfd(int fd, GuestPhysicalAddress address, std::uint32_t value);
  int capability(int cap) const;

 private:
  friend class Kvm;
  explicit KvmVm(UniqueFd fd) : fd_{std::move(fd)} {}
  UniqueFd fd_;
};

}  // namespace understudy
