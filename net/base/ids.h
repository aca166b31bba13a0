// Strong types for the numbers that cross component borders, so that an epoch is never passed where a term is meant.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace understudy {

template <class Tag>
class StrongU64 {
 public:
  constexpr StrongU64() = default;
  constexpr explicit StrongU64(std::uint64_t raw) : raw_{raw} {}
  constexpr std::uint64_t raw() const { return raw_; }
  friend constexpr auto operator<=>(StrongU64, StrongU64) = default;

 private:
  std::uint64_t raw_ = 0;
};

using Epoch = StrongU64<struct EpochTag>;              // gap-free within a term; 0: nothing committed yet
using Term = StrongU64<struct TermTag>;                // only the arbiter raises it; 0: before the first grant
using Session = StrongU64<struct SessionTag>;          // one handshake between the two nodes; random, never 0 in use
using Incarnation = StrongU64<struct IncarnationTag>;  // of a node; new whenever its image was lost; random, never 0
using RequestId = StrongU64<struct RequestTag>;        // of a request to the arbiter; random
using PairId = StrongU64<struct PairTag>;              // names the protected VM; equal on both nodes and the witness
using StoreId = StrongU64<struct StoreTag>;            // of a witness's store; random, new when the store is new
using PageIndex = StrongU64<struct PageTag>;           // 4 KiB page in guest memory's file; dense, without the hole
using GuestPhysicalAddress = StrongU64<struct GpaTag>;

// The next one in order: after(Epoch{7}) is Epoch{8}.
template <class Tag>
constexpr StrongU64<Tag> after(StrongU64<Tag> id) {
  return StrongU64<Tag>{id.raw() + 1};
}

// A node's place in its pair: fixed by configuration, equal in both configurations ("a" or "b").
enum class NodeId : std::uint8_t { kA = 0, kB = 1 };
inline constexpr NodeId kBothNodes[] = {NodeId::kA, NodeId::kB};
constexpr NodeId peer_of(NodeId id) { return id == NodeId::kA ? NodeId::kB : NodeId::kA; }
constexpr const char* name_of(NodeId id) { return id == NodeId::kA ? "a" : "b"; }

inline constexpr std::size_t kPageSizeBytes = 4096;
inline constexpr unsigned kPageShift = 12;

}  // namespace understudy

template <class Tag>
struct std::hash<understudy::StrongU64<Tag>> {
  std::size_t operator()(understudy::StrongU64<Tag> id) const noexcept { return std::hash<std::uint64_t>{}(id.raw()); }
};
