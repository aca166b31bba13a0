// The guest's network and disk, measured from outside by this host's clock.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <netinet/in.h>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"
#include "tests/benchmarks/guest_protocol.h"

namespace understudy::bench {

// One thread; every call is bounded by its deadline and returns kTimeout beyond it.
class GuestClient {
 public:
  struct Options {
    std::string guest_ip;
    Duration each;      // how long a measurement goes on
    Duration deadline;  // until an answer, or the end of a connection
  };
  GuestClient(const Clock& clock, Options options) : clock_{clock}, options_{std::move(options)} {}

  // The median of one exchange of 64 bytes after the other, in microseconds. Of UDP, an exchange whose datagram was lost is repeated, a few
  // times at most.
  Result<double> udp_round_trip_us() const;
  Result<double> tcp_round_trip_us() const;
  // Each of them, in their order. A ping is the guest kernel's to answer, and needs a raw socket of us.
  Result<std::vector<double>> udp_round_trips_us() const;
  Result<std::vector<double>> ping_round_trips_us() const;
  // MiB/s that the guest's process has taken, or that came from it.
  Result<double> tcp_to_guest_mib_s() const;
  Result<double> tcp_from_guest_mib_s() const;
  // Blocks a second; `order`'s run_ms is filled in.
  Result<double> disk_blocks_s(DiskOrder order) const;

 private:
  Result<UniqueFd> connect_to(int type, std::uint16_t port) const;
  Result<std::vector<double>> round_trips_us(const UniqueFd& socket, unsigned losses_allowed) const;
  Result<sockaddr_in> address_of(std::uint16_t port) const;
  Result<void> bound_waiting(const UniqueFd& socket) const;

  const Clock& clock_;
  const Options options_;
};

}  // namespace understudy::bench
