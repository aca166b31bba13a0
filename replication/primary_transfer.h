// How far a full transfer has come. Private to the primary session.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include "replication/primary_session.h"
#include "vmm/page_set.h"

namespace understudy {

struct PrimarySession::Transfer {
  explicit Transfer(std::size_t pages) : round{pages} { round.insert_all(); }

  PageSet round;           // pages of this round that are not staged yet
  std::size_t cursor = 0;  // word of `round` where they begin
  unsigned rounds = 1;

  // The disks, one chunk at a time. While one is being read, no later write is sent: it could reach the peer before the chunk, which may
  // hold older bytes of the same blocks.
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
};

}  // namespace understudy
