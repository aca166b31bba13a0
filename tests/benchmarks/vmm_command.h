// The two VMMs' command lines for the same guest. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/benchmarks/comparison.h"

namespace understudy::bench {

inline constexpr const char* kQemu = "qemu-system-x86_64";

struct GuestSettings {
  std::string kernel;
  std::string initrd;  // empty: none, and the kernel is the tiny one
  unsigned vcpus = 1;
  std::uint64_t memory_mib = 256;
  std::string tap;
  std::string mac;
  std::string guest_ip;
  std::string kernel_words;  // more of them, for the kernel's command line
  std::string disk;
  bool direct = true;  // the disk's file takes O_DIRECT
};

// `machine`: understudy-bench-machine's path. Console on standard output, in both.
std::vector<std::string> understudy_command(const std::string& machine, const GuestSettings& guest);
// What every QEMU here begins with: a microvm without ACPI, with nothing that was not asked for, and its memory in a memfd, as under
// Understudy: so guest memory can be told from the process's own. `qemu`: qemu-system-x86_64's name or path.
std::vector<std::string> microvm_command(const std::string& qemu, unsigned vcpus, std::uint64_t memory_mib);
// `qemu`: qemu-system-x86_64's name or path. A microvm without ACPI, modern virtio-mmio devices, the tap in QEMU itself (no vhost), the
// disk by io_uring.
std::vector<std::string> qemu_command(const std::string& qemu, const GuestSettings& guest);

}  // namespace understudy::bench
