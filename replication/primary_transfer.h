// How far a transfer has come, of everything or of what may differ. Private to the primary session.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "replication/extent_map.h"
#include "replication/primary_session.h"
#include "vmm/page_set.h"

namespace understudy {

struct PrimarySession::Transfer {
  Transfer(std::size_t pages, std::vector<ExtentMap> disks)
      : round{pages}, extents{std::move(disks)}, sent{{PageSet{pages}, extents}, {PageSet{pages}, extents}} {
    for (Owed& generation : sent)
      for (ExtentMap& map : generation.extents) map.clear();
  }

  // Calls visit(disk, extent) for each extent that is still to be read.
  template <class Visit>
  void for_each_left(Visit visit) const {
    for (std::size_t d = disk; d < extents.size(); ++d) {
      std::uint64_t from = d == disk ? disk_offset : 0;
      while (const auto extent = extents[d].next(from, extents[d].disk_bytes())) {
        visit(d, *extent);
        from = extent->offset_bytes + extent->length_bytes;
      }
    }
  }

  PageSet round;           // pages of this round that are not staged yet
  std::size_t cursor = 0;  // word of `round` where they begin
  unsigned rounds = 1;
  std::vector<Epoch> epochs;  // one of which the peer holds until the transfer's begin gets there; empty: who knows

  // The disks, one chunk at a time: these extents, from here on. While one is being read, no later write is sent: it could reach the peer
  // before the chunk, which may hold older bytes of the same blocks.
  std::vector<ExtentMap> extents;
  std::size_t disk = 0;
  std::uint64_t disk_offset = 0;
  bool chunk_asked = false;

  // Sent and not confirmed, oldest first.
  struct Unconfirmed {
    std::uint64_t parts = 0;  // confirmed once so many parts are
    std::size_t bytes = 0;
    std::optional<std::size_t> release_disk;  // whose stream to release, for writes
    std::size_t release_bytes = 0;
  };
  std::deque<Unconfirmed> unconfirmed;
  std::size_t unconfirmed_bytes = 0;
  Instant progress_at;

  // What was sent and may not be confirmed, in two generations: when all of the older is, the younger takes its place.
  Owed sent[2];                   // older, younger
  std::uint64_t older_parts = 0;  // confirmed, the older generation is

  Instant rate_since;  // the rate limit counts from here
};

}  // namespace understudy
