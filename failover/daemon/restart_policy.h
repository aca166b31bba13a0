// What becomes of a guest that ended by itself: started again, or down for good; and the bound on crash loops. Pure.
//
// The count is this node's: after a takeover the new holder begins with none.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>

#include "net/base/clock.h"
#include "vmm/machine_event.h"

namespace understudy {

enum class OnEnd : std::uint8_t {
  kReboot,
  kStop,
  kNothing,  // of a panic alone: the guest goes on as it pleases (panic= on its command line)
};

struct RestartConfig {
  OnEnd on_reset = OnEnd::kReboot;                   // the guest asked for it
  OnEnd on_crash = OnEnd::kReboot;                   // triple fault; KVM gave up and nobody took over
  OnEnd on_panic = OnEnd::kReboot;                   // told by pvpanic, bit 0
  unsigned max_crashes = 3;                          // so many restarts after crashes and panics ...
  Duration crash_window = std::chrono::minutes{10};  // ... within this; the next one stays down
  // A reset so soon after the start is a guest that does not come up: it counts as a crash.
  Duration boot_takes = std::chrono::seconds{5};
};

class RestartPolicy {
 public:
  struct Decision {
    bool reboot = false;
    std::string why;  // not rebooted: a clause for a person, "" where it asked for that itself (power-off)
  };

  explicit RestartPolicy(RestartConfig config) : config_{config} {}

  void started(Instant now) { started_at_ = now; }
  // Counts a restart that it decides on.
  Decision ended(MachineEventKind how, Instant now);

 private:
  const RestartConfig config_;
  Instant started_at_;
  std::deque<Instant> crashes_;  // restarts within the window, oldest first
};

}  // namespace understudy
