// Times that are hard on every host and the fault of none: the CPUs stolen in slices, latency spikes and lost frames on the links. No host
// may take another for failed because of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "net/base/clock.h"
#include "net/base/result.h"

namespace understudy::lab {

struct RoughTimesOptions {
  unsigned stolen_percent = 80;                           // of each CPU's time, 0 to 90
  Duration steal_period = std::chrono::milliseconds{50};  // in which that share is taken in one piece, as a hypervisor does
  Duration spike = std::chrono::milliseconds{200};        // a frame waits at most so long in one; 0: there are none
  Duration spikes_apart = std::chrono::seconds{2};        // on average
  unsigned one_lost_of = 50;                              // frames at each port; 0: none
  std::uint64_t seed = 1;
};

struct RoughTimesFigures {
  Duration lasted{};
  double stolen_share = 0;  // of the CPUs' time, as it was taken
  std::uint64_t spikes = 0;
  std::uint64_t frames_lost = 0;  // on replication, heartbeat and witness links
};

class RoughTimes {
 public:
  // From now on, in the calling thread's network namespace, which is the switch. Needs root, nft and tc.
  static Result<std::unique_ptr<RoughTimes>> start(const Clock& clock, RoughTimesOptions options);
  ~RoughTimes();
  RoughTimes(const RoughTimes&) = delete;
  RoughTimes& operator=(const RoughTimes&) = delete;

  // Ends them: all is calm afterwards. An error: they were not what they should have been.
  Result<RoughTimesFigures> stop();

 private:
  RoughTimes(const Clock& clock, RoughTimesOptions options);
  Result<void> begin();
  void steal(unsigned cpu);
  void delay();
  void join();

  const Clock& clock_;
  const RoughTimesOptions options_;
  const Instant since_;
  std::atomic<bool> stopping_{false};
  std::atomic<std::int64_t> stolen_ns_{0};
  std::atomic<std::uint64_t> spikes_{0};
  std::atomic<bool> failed_{false};  // a thread could not do its work
  std::vector<std::thread> threads_;
};

}  // namespace understudy::lab
