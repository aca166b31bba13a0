#include "failover/probe_nic.h"

#include <array>
#include <cstring>
#include <ifaddrs.h>
#include <thread>
#include <unistd.h>

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "net/base/result.h"
#include "net/base/unique_fd.h"

namespace understudy {

namespace {
constexpr std::uint16_t kExperimentalEtherType = 0x88B5;  // IEEE 802, 9.2.3: local experimental
constexpr std::array<std::uint8_t, 6> kNearestBridge = {0x01, 0x80, 0xC2, 0x00, 0x00, 0x0E};
constexpr std::size_t kFrameBytes = 60;
constexpr Duration kCounterDeadline = std::chrono::milliseconds{150};
constexpr Duration kEchoWait = std::chrono::milliseconds{20};  // longer answers are heard at the next exercise
constexpr Duration kCounterPoll = std::chrono::milliseconds{2};

ProbeReport report(Health health, std::string text) { return {.path = ProbePath::kServiceNic, .health = health, .text = std::move(text)}; }
}  // namespace

ProbeReport judge_nic(const std::string& name, const NicSnapshot& before, const NicSnapshot& after, const std::string& send_error) {
  if (!after.present) return report(Health::kFailed, name + ": no such interface");
  if (!after.up) return report(Health::kFailed, name + ": is down");
  if (!after.running) return report(Health::kFailed, name + ": no carrier");
  if (!send_error.empty()) return report(Health::kFailed, name + ": " + send_error);
  // A NIC that was replaced meanwhile counts from zero again.
  const bool counted_up = after.tx_packets > before.tx_packets || after.tx_packets < before.tx_packets;
  if (!counted_up) {
    const std::uint64_t errors = after.tx_errors - before.tx_errors;
    return report(Health::kFailed, name + ": does not transmit" + (errors > 0 ? ", and counts errors" : ""));
  }
  return report(Health::kHealthy, name + ": transmits");
}

ProbeReport judge_tap(const std::string& name, const NicSnapshot& now) {
  if (!now.present) return report(Health::kFailed, "the guest's tap " + name + ": no such interface");
  if (!now.up) return report(Health::kFailed, "the guest's tap " + name + ": is down");
  if (!now.running)
    return report(Health::kFailed, "the guest's tap " + name + ": the daemon does not hold it: it was deleted and made again");
  return report(Health::kHealthy, "the guest's tap " + name + ": is up");
}

ProbeReport NicProbe::exercise() {
  ProbeReport nic = exercise_nic();
  if (nic.health == Health::kFailed) return nic;
  if (!tap_.empty()) {
    ProbeReport tap = judge_tap(tap_, nic_snapshot(tap_));
    if (tap.health == Health::kFailed) return tap;
  }
  echo_.exercise(nic, kEchoWait);
  return nic;
}

ProbeReport judge_replication_nic(const std::string& name, const NicSnapshot& now) {
  const auto say = [&name](Health health, const char* what) {
    ProbeReport report{.path = ProbePath::kReplicationNic, .health = health, .text = name + ": " + what};
    return report;
  };
  if (!now.present) return say(Health::kDegraded, "no such interface");
  if (!now.up) return say(Health::kDegraded, "is down");
  if (!now.running) return say(Health::kDegraded, "no carrier");
  return say(Health::kHealthy, "has a carrier");
}

ProbeReport NicProbe::exercise_nic() {
  const NicSnapshot before = nic_snapshot(name_);
  if (!before.running) return judge_nic(name_, before, before, "");
  const std::string send_error = send_frame();
  NicSnapshot after = nic_snapshot(name_);
  const MonotonicClock clock;
  const Instant deadline = clock.now() + kCounterDeadline;
  while (send_error.empty() && after.running && after.tx_packets == before.tx_packets && clock.now() < deadline) {
    std::this_thread::sleep_for(kCounterPoll);
    after = nic_snapshot(name_);
  }
  return judge_nic(name_, before, after, send_error);
}

NicSnapshot nic_snapshot(const std::string& name) {
  NicSnapshot result;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) < 0) return result;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    const bool link_entry = entry->ifa_addr != nullptr && entry->ifa_addr->sa_family == AF_PACKET;
    if (!link_entry || name != entry->ifa_name) continue;
    result.present = true;
    result.up = (entry->ifa_flags & IFF_UP) != 0;
    result.running = (entry->ifa_flags & IFF_RUNNING) != 0;
    if (entry->ifa_data != nullptr) {
      rtnl_link_stats stats;
      std::memcpy(&stats, entry->ifa_data, sizeof stats);
      result.tx_packets = stats.tx_packets;
      result.tx_errors = std::uint64_t{stats.tx_errors} + stats.tx_dropped;
    }
  }
  ::freeifaddrs(list);
  return result;
}

Result<std::string> interface_towards(const std::string& peer) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(peer.c_str(), "9", &hints, &found) != 0) return Error{ErrorCode::kInvalid, "\"" + peer + "\" is no address"};
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner{found, &::freeaddrinfo};
  const UniqueFd socket{::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  sockaddr_storage local{};
  socklen_t length = sizeof local;
  if (!socket || ::connect(socket.get(), found->ai_addr, found->ai_addrlen) < 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&local), &length) < 0)
    return Error::from_errno("find the way to " + peer);
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) < 0) return Error::from_errno("list the interfaces");
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> interfaces{list, &::freeifaddrs};
  const auto same = [&local](const sockaddr* address) {
    if (address == nullptr || address->sa_family != local.ss_family) return false;
    if (local.ss_family == AF_INET)
      return std::memcmp(&reinterpret_cast<const sockaddr_in*>(address)->sin_addr, &reinterpret_cast<const sockaddr_in&>(local).sin_addr,
                         sizeof(in_addr)) == 0;
    return local.ss_family == AF_INET6 && std::memcmp(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr,
                                                      &reinterpret_cast<const sockaddr_in6&>(local).sin6_addr, sizeof(in6_addr)) == 0;
  };
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next)
    if (same(entry->ifa_addr)) return std::string{entry->ifa_name};
  return Error{ErrorCode::kNotFound, "no interface leads to " + peer};
}

std::string NicProbe::send_frame() const {
  // A socket of its own each time: the interface may have been taken away and come back under the same name. Protocol 0: receives nothing.
  const UniqueFd socket{::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!socket) return Error::from_errno("packet socket").text();
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_protocol = htons(kExperimentalEtherType);
  to.sll_ifindex = static_cast<int>(::if_nametoindex(name_.c_str()));
  to.sll_halen = kNearestBridge.size();
  std::memcpy(to.sll_addr, kNearestBridge.data(), kNearestBridge.size());
  const std::array<std::byte, kFrameBytes - ETH_HLEN> payload{};
  if (::sendto(socket.get(), payload.data(), payload.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0)
    return Error::from_errno("send a probe frame").text();
  return {};
}

}  // namespace understudy
