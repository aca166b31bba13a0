// Listens on the switch's ports towards both hosts and keeps every frame of the guest that comes out of one, with its time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "net/base/addresses.h"
#include "net/base/clock.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"
#include "tests/lab/guest_frame.h"

namespace understudy::lab {

class WireTap {
 public:
  // `ports`: the switch's interface towards each host, by NodeId, in the calling thread's network namespace.
  static Result<std::unique_ptr<WireTap>> start(const Clock& clock, const std::array<std::string, 2>& ports, MacAddress guest);
  ~WireTap();
  WireTap(const WireTap&) = delete;
  WireTap& operator=(const WireTap&) = delete;

  // Ends the listening. Afterwards frames() and missed() are the caller's.
  void stop();
  const std::vector<GuestFrame>& frames() const { return frames_; }
  // Frames that the kernel had no room for: with any, the tap proves nothing.
  std::uint64_t missed() const { return missed_; }

 private:
  struct Port {
    UniqueFd socket;
    NodeId host = NodeId::kA;
    bool gone = false;  // its interface was removed
  };
  WireTap(const Clock& clock, std::array<Port, 2> ports, MacAddress guest);
  void run();
  void receive(Port& port);

  const Clock& clock_;
  const MacAddress guest_;
  std::atomic<bool> stopping_{false};
  std::array<Port, 2> ports_;  // the thread's, until it is joined, like all below
  std::vector<GuestFrame> frames_;
  std::uint64_t missed_ = 0;
  std::thread thread_;
};

}  // namespace understudy::lab
