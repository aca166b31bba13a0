#include "failover/flight_db.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace understudy {

namespace {

constexpr const char* kNextChunk = "next-chunk";
constexpr const char* kNextEvent = "next-event";

std::string chunk_key(std::uint64_t serial) { return "chunk/" + std::to_string(serial % FlightDb::kChunks); }
std::string event_key(std::uint64_t serial) { return "event/" + std::to_string(serial % FlightDb::kEvents); }

Result<std::uint64_t> number(const SmallDb& db, const char* key) {
  US_ASSIGN(const auto stored, db.get(key));
  std::uint64_t value = 0;
  if (stored && stored->size() == sizeof value) std::memcpy(&value, stored->data(), sizeof value);
  return value;
}

// The counter first: after a crash between the two a serial is missing, and none is given twice.
Result<void> put_next(SmallDb& db, const char* key, std::uint64_t& next, std::uint64_t serial) {
  if (serial < next) return {};
  next = serial + 1;
  return db.put(key, std::as_bytes(std::span{&next, 1}), SmallDb::Durability::kBuffered);
}

}  // namespace

Result<std::unique_ptr<FlightDb>> FlightDb::open(const std::filesystem::path& path, Access access) {
  US_ASSIGN(auto db, SmallDb::open(path, access == Access::kRecord ? SmallDb::IfMissing::kCreate : SmallDb::IfMissing::kFail));
  std::unique_ptr<FlightDb> out{new FlightDb{std::move(db)}};
  US_ASSIGN(out->next_chunk_, number(*out->db_, kNextChunk));
  US_ASSIGN(out->next_event_, number(*out->db_, kNextEvent));
  return out;
}

Result<void> FlightDb::put(const FlightChunk& chunk) {
  US_TRY(put_next(*db_, kNextChunk, next_chunk_, chunk.serial));
  return db_->put(chunk_key(chunk.serial), encode_flight_chunk(chunk), SmallDb::Durability::kBuffered);
}

Result<void> FlightDb::put(const FlightEvent& event) {
  US_TRY(put_next(*db_, kNextEvent, next_event_, event.serial));
  return db_->put(event_key(event.serial), encode_flight_event(event), SmallDb::Durability::kBuffered);
}

std::vector<FlightEvent> FlightDb::events(std::uint64_t from, std::size_t most) const {
  std::vector<FlightEvent> out;
  from = std::max(from, next_event_ - std::min(next_event_, kEvents));
  for (std::uint64_t serial = from; serial < next_event_ && out.size() < most; ++serial) {
    const auto stored = db_->get(event_key(serial));
    if (!stored || !*stored) continue;
    auto event = decode_flight_event(**stored);
    if (event && event->serial == serial) out.push_back(std::move(*event));
  }
  return out;
}

std::optional<std::vector<std::byte>> FlightDb::chunk(std::uint64_t from) const {
  from = std::max(from, next_chunk_ - std::min(next_chunk_, kChunks));
  for (std::uint64_t serial = from; serial < next_chunk_; ++serial) {
    auto stored = db_->get(chunk_key(serial));
    if (!stored || !*stored) continue;
    const auto chunk = decode_flight_chunk(**stored);
    if (chunk && chunk->serial == serial) return std::move(**stored);
  }
  return std::nullopt;
}

}  // namespace understudy
