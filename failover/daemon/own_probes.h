// What the daemon sees of itself, without a process: the guest's own disk requests, its vCPUs' threads, the monitor's loops, timers, and
// what arrives damaged. Nothing here can hang: counters of this process, and /proc.
#pragma once

#include <functional>
#include <memory>

#include "failover/daemon/config.h"
#include "failover/daemon/disk_health.h"
#include "failover/daemon/guest_host.h"
#include "failover/daemon/probes.h"
#include "failover/evidence.h"
#include "failover/loop_watch.h"
#include "failover/thread_watch.h"
#include "net/base/event_loop.h"

namespace understudy {

// Loop-owned.
class OwnProbes {
 public:
  struct Dependencies {
    EventLoop& loop;  // outlives the probes, as do all of these
    GuestHost& guest;
    Evidence& evidence;
    Probes& processes;                             // which are told the load
    std::function<std::uint64_t()> corrupt_beats;  // heartbeats that failed their checks, so far
    bool has_disks = false;
  };
  explicit OwnProbes(Dependencies dependencies);
  ~OwnProbes();
  OwnProbes(const OwnProbes&) = delete;
  OwnProbes& operator=(const OwnProbes&) = delete;

 private:
  void tick();
  void take(ProbeReport report, Instant now) { deps_.evidence.take(kName, std::move(report), now); }
  void look_slowly(const GuestNumbers& guest, Instant now);

  static constexpr const char* kName = "understudyd";

  const Dependencies deps_;
  Instant due_;
  Instant slow_due_;
  TimerWatch timers_;
  LoopWatch session_;
  ReceiveWatch received_;
  ThreadWatch vcpus_{ProbePath::kVcpus, {}};
  ThreadWatch loops_{ProbePath::kVmm, {}};
  RateMeter disk_rate_;  // blocks and requests
  DiskLatency disk_latency_;
  RateMeter frame_rate_;
  EventLoop::TimerId timer_ = 0;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace understudy
