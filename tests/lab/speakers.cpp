#include "tests/lab/speakers.h"

#include <algorithm>

#include <fmt/format.h>

namespace understudy::lab {

namespace {

std::string describe(const GuestFrame& frame) {
  if (frame.reply) return fmt::format("a reply with sequence {}", frame.reply->sequence);
  if (frame.tcp)
    return fmt::format("{} bytes from TCP port {} to {}{}", frame.tcp->payload.size(), frame.tcp->guest_port, frame.tcp->peer_port,
                       frame.tcp->reset ? ", a reset" : "");
  return "a frame";
}

}  // namespace

SpeakerFindings judge_speakers(std::span<const GuestFrame> frames, const std::function<bool(const GuestFrame&)>& is_committed) {
  constexpr std::size_t kMaxExamples = 8;
  std::vector<const GuestFrame*> ordered;
  for (const auto& frame : frames) ordered.push_back(&frame);
  std::ranges::stable_sort(ordered, {}, [](const GuestFrame* frame) { return frame->at; });

  SpeakerFindings findings;
  std::optional<NodeId> speaker;
  for (const GuestFrame* const next : ordered) {
    const GuestFrame& frame = *next;
    auto& host = findings.hosts[static_cast<std::size_t>(frame.host)];
    const bool left_already = speaker && *speaker != frame.host && host.frames > 0;
    ++host.frames;
    host.last = frame.at;
    if (left_already) {
      const bool harmless = is_committed(frame);
      ++(harmless ? findings.late_committed : findings.late);
      if (findings.examples.size() < kMaxExamples)
        findings.examples.push_back(fmt::format("host-{} sent {} {:.3f} ms after host-{} had followed it{}", name_of(frame.host),
                                                describe(frame), to_ms(frame.at - *findings.changed_at), name_of(*speaker),
                                                harmless ? ", a repetition of a committed one" : ""));
      continue;
    }
    if (!host.first) host.first = frame.at;
    if (speaker && *speaker != frame.host) findings.changed_at = frame.at;
    speaker = frame.host;
  }
  return findings;
}

}  // namespace understudy::lab
