#include "failover/daemon/bootable.h"

#include "vmm/boot/loader.h"
#include "vmm/guest_memory.h"

namespace understudy {

Result<void> check_bootable(const DaemonConfig::Vm& vm) {
  US_ASSIGN(const auto scratch, GuestMemory::create(vm.memory_bytes));
  const auto loaded = load_guest({.kernel_path = vm.kernel.string(),
                                  .initrd_path = vm.initrd.value_or("").string(),
                                  .command_line = vm.cmdline,
                                  .protocol = vm.boot_protocol,
                                  .vcpu_count = vm.vcpus},
                                 *scratch);
  if (!loaded) return loaded.error().within("the guest can't be booted");
  return {};
}

}  // namespace understudy
