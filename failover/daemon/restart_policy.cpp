#include "failover/daemon/restart_policy.h"

#include <fmt/format.h>

namespace understudy {

RestartPolicy::Decision RestartPolicy::ended(MachineEventKind how, Instant now) {
  if (how == MachineEventKind::kPowerOff) return {};
  const bool reset = how == MachineEventKind::kReset;
  const bool panic = how == MachineEventKind::kPanic;
  const OnEnd wish = reset ? config_.on_reset : panic ? config_.on_panic : config_.on_crash;
  if (wish != OnEnd::kReboot) return {false, fmt::format("[vm] {} says so", reset ? "on_reset" : panic ? "on_panic" : "on_crash")};
  if (reset && now - started_at_ >= config_.boot_takes) return {true, ""};
  while (!crashes_.empty() && now - crashes_.front() > config_.crash_window) crashes_.pop_front();
  if (crashes_.size() >= config_.max_crashes)
    return {false, fmt::format("it was restarted {} times within {:.0f} minutes", crashes_.size(), to_ms(config_.crash_window) / 60'000)};
  crashes_.push_back(now);
  return {true, ""};
}

}  // namespace understudy
