// The client machine: a thread in the lab's `client` namespace that runs the workload over UDP.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "net/base/addresses.h"
#include "net/base/clock.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"
#include "tests/lab/workload.h"

namespace understudy::lab {

class KvClient {
 public:
  // Opens the socket inside `network_namespace` and starts asking at once.
  static Result<std::unique_ptr<KvClient>> start(const Clock& clock, const std::string& network_namespace, Ipv4Address server,
                                                 const Workload::Options& options);
  ~KvClient();
  KvClient(const KvClient&) = delete;
  KvClient& operator=(const KvClient&) = delete;

  // Requests answered so far. Any thread.
  std::uint64_t acknowledged() const { return acknowledged_.load(std::memory_order_relaxed); }

  // Has the guest told to end itself: Workload::end_guest(). Once something was answered. Any thread.
  void end_guest(guest::GuestEnd how) { end_order_ = static_cast<std::uint32_t>(how); }

  // Lets the workload read back and stops when all is answered, or after `deadline`. Afterwards workload() is the caller's.
  void finish(Duration deadline);
  const Workload& workload() const { return workload_; }
  // When the last request that changes anything was sent: what follows is the reading back.
  Instant reading_back_since() const { return reading_back_since_; }

 private:
  KvClient(const Clock& clock, UniqueFd socket, const Workload::Options& options);
  void run();
  void receive();

  const Clock& clock_;
  const UniqueFd socket_;
  std::atomic<std::uint64_t> acknowledged_{0};
  std::atomic<std::int64_t> give_up_at_ns_{INT64_MAX};  // finish() sets it
  std::atomic<std::uint32_t> end_order_{0};             // a GuestEnd for the thread; 0: none
  Workload workload_;                                   // the thread's, until it is joined
  Instant reading_back_since_{};                        // the thread's, until it is joined
  std::thread thread_;
};

}  // namespace understudy::lab
