// The host's judge of the torture: is this guest memory what it was at one single instant? Pure, over bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace understudy::guest {

struct TortureVerdict {
  // The first contradiction found, in a sentence; empty: the memory is whole.
  std::optional<std::string> contradiction;
  std::vector<std::uint64_t> passes;  // per torturing vCPU, as its hot pages tell: passes completed or being completed
  bool whole() const { return !contradiction; }
};

// Judges the memory of a guest whose vCPUs all stand still (paused, or restored and not yet run). `low_memory` is guest-physical memory
// from address 0; the guest publishes the torture's place in it (published.h). A guest that is not torturing yet is a contradiction.
// What vCPU registers say is judged by the guest itself, once it runs on.
TortureVerdict check_torture(std::span<const std::byte> low_memory);

}  // namespace understudy::guest
