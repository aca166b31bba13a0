// The service NIC's probe: the interface is there, up, has a carrier, and its driver really transmits; and the guest's tap leads to it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "failover/probe.h"
#include "failover/probe_echo.h"
#include "net/base/result.h"

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
// no bridge forwards (IEEE 802.1Q, 8.6.3), and watches the driver's counters (rtnetlink(7)). Then looks at `tap`, if one is named, and for
// an echo from beyond the NIC, if a target is named or learnt. Needs CAP_NET_RAW.
class NicProbe {
 public:
  explicit NicProbe(std::string name, std::string tap = {}, std::vector<Ipv4Address> echo_targets = {}, EchoLimits echo_limits = {})
      : name_{std::move(name)}, tap_{std::move(tap)}, echo_{name_, std::move(echo_targets), echo_limits} {}
  ProbeReport exercise();

 private:
  ProbeReport exercise_nic();
  std::string send_frame() const;  // empty, or why not

  const std::string name_;
  const std::string tap_;
  EchoProbe echo_;
};

NicSnapshot nic_snapshot(const std::string& name);

// The interface that has the local address from which `peer` (an IPv4 or IPv6 address) is reached. Sends nothing.
Result<std::string> interface_towards(const std::string& peer);

// The replication link's interface: present, up, with a carrier. Never worse than degraded, since the guest runs on without it, and when
// the cable between the hosts is cut both see the same. Pure.
ProbeReport judge_replication_nic(const std::string& name, const NicSnapshot& now);

}  // namespace understudy
