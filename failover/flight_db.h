// Where a flight recorder's log is kept: two rings of records in a database of its own, so that its size and its damage stay bounded.
//
// A slot's new record takes the place of the oldest one. Nothing is synced: the log survives the process, and what a host that loses power
// loses of it is its last seconds. Threading: one thread at a time; every call may block for as long as the disk does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "failover/flight_log.h"
#include "net/base/result.h"
#include "replication/small_db.h"

namespace understudy {

class FlightDb {
 public:
  static constexpr std::uint64_t kChunks = 512;
  static constexpr std::uint64_t kEvents = 8192;

  enum class Access : std::uint8_t { kRecord, kRead };  // kRead: there must be one already
  // As SmallDb::open().
  static Result<std::unique_ptr<FlightDb>> open(const std::filesystem::path& path, Access access);

  // The serials to go on from: above all that were stored.
  std::uint64_t next_chunk() const { return next_chunk_; }
  std::uint64_t next_event() const { return next_event_; }

  // Serials rise; one that is put again replaces itself.
  Result<void> put(const FlightChunk& chunk);
  Result<void> put(const FlightEvent& event);

  // Those of serial `from` and above that are still there, oldest first, at most `most`. Damaged ones are left out.
  std::vector<FlightEvent> events(std::uint64_t from, std::size_t most) const;
  // The oldest one of serial `from` and above, as stored: decode_flight_chunk() reads it. nullopt: there is none.
  std::optional<std::vector<std::byte>> chunk(std::uint64_t from) const;

 private:
  explicit FlightDb(std::unique_ptr<SmallDb> db) : db_{std::move(db)} {}

  const std::unique_ptr<SmallDb> db_;
  std::uint64_t next_chunk_ = 0;
  std::uint64_t next_event_ = 0;
};

}  // namespace understudy
