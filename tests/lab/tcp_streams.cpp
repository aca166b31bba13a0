#include "tests/lab/tcp_streams.h"

#include <algorithm>
#include <optional>

namespace understudy::lab {

namespace {

// Sequence numbers wrap: how far `to` is ahead of `from` (RFC 9293, 3.4).
std::int32_t distance(std::uint32_t from, std::uint32_t to) { return static_cast<std::int32_t>(to - from); }

// Marks which of `segment`'s bytes `other` holds too; false if one of them differs.
bool mark_common(const TcpSegment& segment, const TcpSegment& other, std::vector<bool>& seen) {
  const std::int64_t ahead = distance(segment.sequence, other.sequence);
  const auto size = static_cast<std::int64_t>(segment.payload.size());
  const auto end = std::min(size, ahead + static_cast<std::int64_t>(other.payload.size()));
  for (std::int64_t i = std::max<std::int64_t>(ahead, 0); i < end; ++i) {
    if (segment.payload[static_cast<std::size_t>(i)] != other.payload[static_cast<std::size_t>(i - ahead)]) return false;
    seen[static_cast<std::size_t>(i)] = true;
  }
  return true;
}

}  // namespace

TcpStreams::TcpStreams(std::span<const GuestFrame> frames) {
  std::optional<GuestFrame> first;
  std::optional<Instant> followed_at;
  for (const auto& frame : frames) {
    if (!first || frame.at < first->at) first = GuestFrame{.at = frame.at, .host = frame.host, .reply = {}, .tcp = {}};
  }
  for (const auto& frame : frames) {
    if (frame.host != first->host && (!followed_at || frame.at < *followed_at)) followed_at = frame.at;
  }
  for (const auto& frame : frames) {
    if (!frame.tcp || (followed_at && frame.host == first->host && frame.at >= *followed_at)) continue;
    said_[{frame.tcp->guest_port, frame.tcp->peer_port}].push_back(&*frame.tcp);
  }
}

bool TcpStreams::repeats(const TcpSegment& segment) const {
  const auto found = said_.find({segment.guest_port, segment.peer_port});
  if (segment.reset || found == said_.end()) return false;
  std::vector<bool> seen(segment.payload.size());
  bool acknowledged = !segment.acknowledges;
  for (const TcpSegment* const other : found->second) {
    if (!mark_common(segment, *other, seen)) return false;
    acknowledged = acknowledged || (other->acknowledges && distance(segment.acknowledged, other->acknowledged) >= 0);
  }
  return acknowledged && std::ranges::all_of(seen, [](bool held) { return held; });
}

}  // namespace understudy::lab
