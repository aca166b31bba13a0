// An initramfs of one program, as the kernel unpacks it (Documentation/driver-api/early-userspace/buffer-format.rst: "newc"). Pure.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace understudy::bench {

// `init` as /init, and /dev with the console on which it speaks.
std::vector<std::byte> make_initrd(std::span<const std::byte> init);

}  // namespace understudy::bench
