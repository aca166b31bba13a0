// The flight recorder's two kinds of record, and their stored form: chunks to replay, and events to read.
//
// A chunk is whole by itself: it begins with the node as it was (Node::save), so any may be lost, and each can be replayed alone. Its steps
// are archived (archive.h) one after another: time since the step before, input, and the digest of the actions that came of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "failover/flight.capnp.h"
#include "net/base/clock.h"
#include "net/base/ids.h"
#include "net/base/log.h"
#include "net/base/result.h"

namespace understudy {

struct FlightChunk {
  std::uint64_t serial = 0;
  std::string version{};    // of the program
  std::string decisions{};  // decisions_fingerprint() of the program
  Instant started_at{};     // the instant of the first step
  std::int64_t started_realtime_ns = 0;
  std::uint64_t missing = 0;
  std::vector<std::byte> image{};
  std::uint32_t step_count = 0;
  std::vector<std::byte> steps{};
};

struct FlightEvent {
  std::uint64_t serial = 0;
  Instant at{};
  std::int64_t realtime_ns = 0;
  Term term{};
  std::string role{};
  Severity severity = Severity::kInfo;
  std::string kind{};
  std::string text{};
  friend bool operator==(const FlightEvent&, const FlightEvent&) = default;
};

// Bounds: of what is decoded (longer texts are cut), and of what the recorder makes.
inline constexpr std::size_t kMaxFlightBody = std::size_t{1} << 20;
inline constexpr std::size_t kMaxFlightText = 1000;

// Bytes for a store, packed. Any thread.
std::vector<std::byte> encode_flight_chunk(const FlightChunk& chunk);
std::vector<std::byte> encode_flight_event(const FlightEvent& event);
// kCorrupt, with what is wrong. Nothing in the bytes is trusted.
Result<FlightChunk> decode_flight_chunk(std::span<const std::byte> bytes);
Result<FlightEvent> decode_flight_event(std::span<const std::byte> bytes);

// The same within another message.
void write_flight_event(const FlightEvent& event, schema::FlightEvent::Builder out);
Result<FlightEvent> read_flight_event(schema::FlightEvent::Reader in);

// Of the source of everything that decides (the library understudy_node), as it was built into this program: two programs with the same one
// make the same decisions.
const char* decisions_fingerprint();

}  // namespace understudy
