// Words for a vCPU's last exit: RIP, mode and instruction bytes, so that one line tells what the guest did.
//
// Called on the vCPU's thread after KVM_RUN returned; each asks KVM for the registers, and says so when it gets none.
#pragma once

#include <string>

#include <linux/kvm.h>

namespace understudy {

std::string describe_triple_fault(int vcpu_fd, unsigned index);
// KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_FAIL_ENTRY, and every exit that this machine does not know (KVM API 5).
std::string describe_exit(int vcpu_fd, unsigned index, const kvm_run& run);
// KVM_RUN itself failed with `error_number`.
std::string describe_run_failure(int vcpu_fd, unsigned index, int error_number);

}  // namespace understudy
