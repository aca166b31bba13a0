#include "tests/benchmarks/vmm_command.h"

#include <fmt/format.h>

namespace understudy::bench {

namespace {

// `quiet`: each character of the console is an exit. acpi=off: QEMU's machine offers no ACPI, and a kernel that reads tables boots later.
// guest_ip= is for the guest's init.
std::string kernel_command_line(const GuestSettings& guest) {
  const std::string words = guest.kernel_words.empty() ? "" : " " + guest.kernel_words;
  return fmt::format("console=ttyS0 quiet acpi=off reboot=p panic=-1 guest_ip={}{}", guest.guest_ip, words);
}

}  // namespace

std::vector<std::string> understudy_command(const std::string& machine, const GuestSettings& guest) {
  std::vector<std::string> command{machine,
                                   "--kernel",
                                   guest.kernel,
                                   "--vcpus",
                                   std::to_string(guest.vcpus),
                                   "--memory-mib",
                                   std::to_string(guest.memory_mib),
                                   "--tap",
                                   guest.tap,
                                   "--mac",
                                   guest.mac,
                                   "--disk",
                                   guest.disk};
  if (guest.initrd.empty()) {
    command.insert(command.end(), {"--pvh"});
  } else {
    command.insert(command.end(), {"--initrd", guest.initrd, "--cmdline", kernel_command_line(guest)});
  }
  return command;
}

std::vector<std::string> microvm_command(const std::string& qemu, unsigned vcpus, std::uint64_t memory_mib) {
  return {
      qemu,
      "-nodefaults",
      "-no-user-config",
      "-no-reboot",
      "-display",
      "none",
      "-machine",
      "microvm,accel=kvm,acpi=off,rtc=on,memory-backend=ram",
      "-cpu",
      "host",
      "-smp",
      std::to_string(vcpus),
      "-m",
      fmt::format("{}M", memory_mib),
      "-object",
      fmt::format("memory-backend-memfd,id=ram,size={}M,share=on", memory_mib),
  };
}

std::vector<std::string> qemu_command(const std::string& qemu, const GuestSettings& guest) {
  std::vector<std::string> command = microvm_command(qemu, guest.vcpus, guest.memory_mib);
  command.insert(command.end(),
                 {
                     "-global",
                     "virtio-mmio.force-legacy=false",
                     "-kernel",
                     guest.kernel,
                     "-chardev",
                     "stdio,id=console,signal=off",
                     "-serial",
                     "chardev:console",
                     "-netdev",
                     fmt::format("tap,id=net,ifname={},script=no,downscript=no,vhost=off", guest.tap),
                     "-device",
                     fmt::format("virtio-net-device,netdev=net,mac={}", guest.mac),
                     "-blockdev",
                     fmt::format("file,node-name=file,filename={},aio=io_uring,cache.direct={}", guest.disk, guest.direct ? "on" : "off"),
                     "-blockdev",
                     "raw,node-name=disk,file=file",
                     "-device",
                     "virtio-blk-device,drive=disk",
                 });
  if (!guest.initrd.empty()) command.insert(command.end(), {"-initrd", guest.initrd, "-append", kernel_command_line(guest)});
  return command;
}

}  // namespace understudy::bench
