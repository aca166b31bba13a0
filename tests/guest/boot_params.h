// What the boot loader left in the zero page (Linux/x86 boot protocol): command line and memory map. Pure, over bytes.
#pragma once

#include <cstdint>
#include <span>

namespace understudy::guest {

struct BootParams {
  std::uint64_t command_line;  // guest-physical address
  std::uint64_t ram_end;       // end of the RAM range that holds `needed`; 0: no range does
};

// `zero_page`: the 4096 bytes of boot_params. `needed`: an address that must be RAM.
BootParams parse_boot_params(std::span<const unsigned char, 4096> zero_page, std::uint64_t needed);

}  // namespace understudy::guest
