// The service NIC's probe: the interface is there, up, has a carrier, and its driver really transmits; and the guest's tap leads to it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "failover/probe.h"

namespace understudy {

// What the kernel says of an interface at one moment.
struct NicSnapshot {
  bool present = false;
  bool up = false;       // IFF_UP: administratively
  bool running = false;  // IFF_RUNNING: operational, with a carrier
  std::uint64_t tx_packets = 0;
  std::uint64_t tx_errors = 0;  // errors and drops
};

// Judges what happened between a probe frame's sending and its deadline. Pure.
ProbeReport judge_nic(const std::string& name, const NicSnapshot& before, const NicSnapshot& after, const std::string& send_error);

// Judges the tap through which the guest reaches the NIC: the daemon holds it open, so without a carrier it is another of the same name.
// Pure.
ProbeReport judge_tap(const std::string& name, const NicSnapshot& now);

// Exercises the interface `name` of the network namespace this process is in: sends a frame of its own to a link-local group address, which
// no bridge forwards (IEEE 802.1Q, 8.6.3), and watches the driver's counters (rtnetlink(7)). Then looks at `tap`, if one is named. Needs
// CAP_NET_RAW.
class NicProbe {
 public:
  explicit NicProbe(std::string name, std::string tap = {}) : name_{std::move(name)}, tap_{std::move(tap)} {}
  ProbeReport exercise();

 private:
  ProbeReport exercise_nic();
  static NicSnapshot snapshot(const std::string& name);
  std::string send_frame() const;  // empty, or why not

  const std::string name_;
  const std::string tap_;
};

}  // namespace understudy
