// The judge of who spoke for the guest, and when: frames of the guest's address, as they came out of each host.
//
// Pure. The guest may change its host, and then the host it left is silent. A frame that was already on its way out when its host was
// stopped cannot be recalled; it is harmless where it repeats what was committed (architecture: "Who may run the guest", rule 5), so such
// a frame is told apart, and anything else from a host that another has followed is two hosts answering.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tests/lab/guest_frame.h"

namespace understudy::lab {

struct SpeakerFindings {
  struct Host {
    std::uint64_t frames = 0;
    std::optional<Instant> first;
    std::optional<Instant> last;
  };
  std::array<Host, 2> hosts;          // by NodeId
  std::uint64_t late = 0;             // from a host after another one spoke: two hosts answered
  std::uint64_t late_committed = 0;   // the same, yet a repetition of what was committed
  std::optional<Instant> changed_at;  // the first frame of the second speaker
  std::vector<std::string> examples;  // the first few late frames, a sentence each
};

// A stop between the check and the write lets out the frame under way; a second one shows a gate that did not look.
inline constexpr std::uint64_t kMaxFramesUnderWay = 1;

// `frames` in any order. `is_committed` tells whether a late frame says, byte for byte, nothing but what the client holds anyway. A host
// speaks once; one that speaks again after its successor is late, whatever the reason.
SpeakerFindings judge_speakers(std::span<const GuestFrame> frames, const std::function<bool(const GuestFrame&)>& is_committed);

inline bool spoke_one_at_a_time(const SpeakerFindings& findings) {
  return findings.late == 0 && findings.late_committed <= kMaxFramesUnderWay;
}

}  // namespace understudy::lab
