#include "failover/flight_replay.h"

#include "failover/flight_recorder.h"
#include "failover/node_archive.h"

namespace understudy {

Result<ReplayReport> replay(const FlightChunk& chunk, const std::function<void(const FlightEvent&)>& told) {
  const std::string what = "replay chunk " + std::to_string(chunk.serial) + " of the flight recorder";
  if (chunk.decisions != decisions_fingerprint())
    return Error{ErrorCode::kUnsupportedVersion, what + ": it was recorded by understudyd " + chunk.version + " with decisions " +
                                                     chunk.decisions + ", and this program has " + decisions_fingerprint() +
                                                     ": use the `understudy` of that version"};
  auto node = Node::restore(chunk.image);
  if (!node) return std::move(node.error()).within(what);

  ReplayReport report;
  ArchiveReader archive{chunk.steps};
  Instant now = chunk.started_at;
  std::vector<std::byte> scratch;
  NodeStatus before = node->status();
  for (std::uint32_t i = 0; i < chunk.step_count; ++i) {
    Duration since{};
    Input input;
    std::uint64_t digest = 0;
    archive(since, input, digest);
    const std::string at_step = what + ": step " + std::to_string(i + 1) + " of " + std::to_string(chunk.step_count);
    std::int64_t at_ns = 0;
    if (!archive.ok() || since < Duration{} || __builtin_add_overflow(to_ns(now), since.count(), &at_ns))
      return Error{ErrorCode::kCorrupt, at_step + " is damaged"};
    now = Instant{Duration{at_ns}};
    report.length = now - chunk.started_at;
    const auto actions = node->step(now, input);
    ++report.steps;
    if (!actions.empty()) ++report.decisions;
    NodeStatus after = node->status();
    if (told) {
      const std::int64_t realtime = chunk.started_realtime_ns + (now - chunk.started_at).count();
      for (const FlightEvent& event : events_of(before, input, actions, after, now, realtime)) told(event);
    }
    before = std::move(after);
    if (digest_of(actions, scratch) != digest) {
      report.difference = at_step + " came out otherwise than recorded";
      return report;
    }
  }
  if (archive.bytes_left() != 0) return Error{ErrorCode::kCorrupt, what + ": bytes are left after its last step"};
  return report;
}

}  // namespace understudy
