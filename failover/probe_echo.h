// The echo from beyond the NIC: asks neighbours on the segment for their address (ARP, RFC 826) and hears their replies.
//
// A neighbour answers ARP whatever its firewall does, and its answer passes its NIC, the segment and ours, both ways. Where the interface
// is a bridge's port and has no address of its own the request carries none (an ARP probe, RFC 5227): that never changes a neighbour's
// tables.
#pragma once

#include <string>
#include <vector>

#include "failover/echo_watch.h"
#include "net/base/addresses.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"

namespace understudy {

class EchoProbe {
 public:
  // `targets`: any of them will do. None: the default gateway behind `nic`, if there is one. Needs CAP_NET_RAW.
  EchoProbe(std::string nic, std::vector<Ipv4Address> targets, EchoLimits limits);

  // Asks where that is due, hears what came, waits for an answer for at most `wait`; and adds to the report of a healthy NIC what it found.
  void exercise(ProbeReport& report, Duration wait);

 private:
  void learn_target();
  Result<void> open();
  Result<void> ask();
  bool hear();  // true: an answer came
  std::string target_names() const;

  const std::string nic_;
  std::vector<Ipv4Address> targets_;
  const bool configured_;
  EchoWatch watch_;
  const MonotonicClock clock_;
  UniqueFd socket_;
  int index_ = 0;
  MacAddress own_mac_{};
  Ipv4Address own_address_{};
  Instant learn_at_{};
};

// The default gateway in a table like /proc/net/route (route(8), "numeric") behind one of `interfaces`.
std::optional<Ipv4Address> gateway_in(std::string_view route_table, const std::vector<std::string>& interfaces);

}  // namespace understudy
