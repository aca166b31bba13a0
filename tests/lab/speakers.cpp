#include "tests/lab/speakers.h"

#include <algorithm>

#include <fmt/format.h>

namespace understudy::lab {

SpeakerFindings judge_speakers(std::span<const GuestFrame> frames, const std::function<bool(const guest::KvReply&)>& is_committed) {
  constexpr std::size_t kMaxExamples = 8;
  std::vector<GuestFrame> ordered{frames.begin(), frames.end()};
  std::ranges::stable_sort(ordered, {}, &GuestFrame::at);

  SpeakerFindings findings;
  std::optional<NodeId> speaker;
  for (const GuestFrame& frame : ordered) {
    auto& host = findings.hosts[static_cast<std::size_t>(frame.host)];
    const bool left_already = speaker && *speaker != frame.host && host.frames > 0;
    ++host.frames;
    host.last = frame.at;
    if (left_already) {
      const bool harmless = frame.reply && is_committed(*frame.reply);
      ++(harmless ? findings.late_committed : findings.late);
      if (findings.examples.size() < kMaxExamples)
        findings.examples.push_back(fmt::format("host-{} sent {} {:.3f} ms after host-{} had followed it{}", name_of(frame.host),
                                                frame.reply ? fmt::format("a reply with sequence {}", frame.reply->sequence) : "a frame",
                                                to_ms(frame.at - *findings.changed_at), name_of(*speaker),
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
