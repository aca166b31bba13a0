#include "failover/flight_recorder.h"

#include <algorithm>
#include <utility>

#include <xxhash.h>

#include "failover/node_archive.h"

namespace understudy {

std::uint64_t digest_of(std::span<const Action> actions, std::vector<std::byte>& scratch) {
  if (actions.empty()) return 0;
  scratch.clear();
  ArchiveWriter archive{scratch};
  for (const Action& action : actions) archive(action);
  const std::uint64_t digest = XXH3_64bits(scratch.data(), scratch.size());
  return digest == 0 ? 1 : digest;
}

FlightRecorder::FlightRecorder(FlightSink& sink, std::uint64_t first_chunk, std::uint64_t first_event,
                               std::function<std::int64_t()> realtime_ns, FlightLimits limits)
    : sink_{sink}, realtime_ns_{std::move(realtime_ns)}, limits_{limits}, next_event_{first_event} {
  chunk_.serial = first_chunk;
  chunk_.version = UNDERSTUDY_VERSION;
  chunk_.decisions = decisions_fingerprint();
  chunk_.steps.reserve(limits_.chunk_bytes + limits_.chunk_bytes / 4);
}

void FlightRecorder::begin_chunk(const Node& node, Instant now) {
  chunk_.image = node.save();
  chunk_.steps.clear();
  chunk_.step_count = 0;
  chunk_.missing = missing_;
  chunk_.started_at = stepped_at_ = now;
  chunk_.started_realtime_ns = realtime_ns_();
  offer_at_ = now + limits_.offer_every;
  open_ = true;
}

std::vector<Action> FlightRecorder::step(Node& node, Instant now, const Input& input) {
  if (!open_) {
    begin_chunk(node, now);
    seen_ = node.status();
  }
  std::vector<Action> actions = node.step(now, input);

  ArchiveWriter archive{chunk_.steps};
  archive(now - stepped_at_, input, digest_of(actions, scratch_));
  ++chunk_.step_count;
  stepped_at_ = now;

  NodeStatus after = node.status();
  auto events = events_of(seen_, input, actions, after, now, 0);
  seen_ = std::move(after);
  if (!events.empty()) {
    const std::int64_t realtime = realtime_ns_();
    for (FlightEvent& event : events) {
      event.serial = next_event_++;
      event.realtime_ns = realtime;
      sink_.tell(std::move(event));
    }
    offer_at_ = std::min(offer_at_, now + limits_.offer_soon);
  }
  const bool full = chunk_.steps.size() >= limits_.chunk_bytes || now - chunk_.started_at >= limits_.chunk_length;
  if (full || now >= offer_at_) {
    offer();
    offer_at_ = now + limits_.offer_every;
  }
  if (full) {
    ++chunk_.serial;
    open_ = false;
  }
  return actions;
}

void FlightRecorder::offer() {
  if (!sink_.offer(chunk_)) ++missing_;
}

void FlightRecorder::flush() {
  if (open_ && chunk_.step_count != 0) offer();
}

}  // namespace understudy
