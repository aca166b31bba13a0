// Whether two images hold the same: hashes of a run of pages as they are at an epoch's end, made on one side and looked at on the other.
//
// The bytes of guest memory are read, not what was sent of them: so a page whose write no harvest reported is found as well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "net/base/ids.h"
#include "vmm/checkpoint_source.h"

namespace understudy {

inline constexpr std::size_t kMaxCheckedPages = 4096;

struct PageCheck {
  PageIndex first;
  std::vector<std::uint64_t> hashes;  // XXH3-64, seed 0, of the pages from `first` on; at most kMaxCheckedPages
  friend bool operator==(const PageCheck&, const PageCheck&) = default;
};

// Of `count` pages, which all exist. A page that holds no memory is not read, which would allocate it: it is zeros. The source stands.
PageCheck check_pages(const CheckpointSource& source, PageIndex first, std::size_t count);
// Those that are not the same in this image, ascending; the pages exist. Only while the guest does not run here.
std::vector<PageIndex> differing_pages(const PageCheck& check, const CheckpointTarget& target);

// The same of a machine's state.
std::uint64_t hash_of_state(std::span<const std::byte> state);

}  // namespace understudy
