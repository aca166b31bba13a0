// The PVH boot protocol: how an ELF file names its entry point, and what the guest finds there. Pure.
//
// Source: Xen docs/misc/pvh.pandoc, xen/include/public/elfnote.h and xen/include/public/arch-x86/hvm/start_info.h.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "net/base/ids.h"
#include "net/base/result.h"
#include "vmm/backend.h"
#include "vmm/boot/memory_map.h"
#include "vmm/boot/zero_page.h"

namespace understudy {

// The entry point in a XEN_ELFNOTE_PHYS32_ENTRY note, if there is one among `notes`, a note segment's content whose notes are aligned to
// `alignment` (4 or 8) bytes. kInvalid says in one clause that the notes or the entry are malformed.
Result<std::optional<GuestPhysicalAddress>> find_pvh_entry(ConstBytes notes, std::size_t alignment);

struct PvhContent {
  std::span<const boot_map::E820Range> e820{};
  std::optional<InitrdPlace> initrd{};
  GuestPhysicalAddress rsdp{};
};

// hvm_start_info (version 1) with its module list and memory map behind it, to be placed at `at`. The command line lies at
// boot_map::kCommandLine, with a final zero.
std::vector<std::byte> make_pvh_start_info(const PvhContent& content, GuestPhysicalAddress at);

}  // namespace understudy
