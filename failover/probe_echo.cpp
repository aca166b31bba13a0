#include "failover/probe_echo.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <poll.h>
#include <sstream>

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "failover/proc_file.h"

namespace understudy {

namespace {

constexpr Duration kLearnEvery = std::chrono::seconds{10};
constexpr std::size_t kArpFrameBytes = sizeof(ether_header) + sizeof(ether_arp);

// ARP replies alone: the socket sees every frame of the interface, and all but these end in the kernel.
constexpr sock_filter kOnlyArpReplies[] = {
    BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(ether_header, ether_type)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_ARP, 0, 3),
    BPF_STMT(BPF_LD | BPF_H | BPF_ABS, sizeof(ether_header) + offsetof(arphdr, ar_op)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARPOP_REPLY, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, 0xFFFF),
    BPF_STMT(BPF_RET | BPF_K, 0),
};

}  // namespace

std::optional<Ipv4Address> gateway_in(std::string_view route_table, const std::vector<std::string>& interfaces) {
  std::istringstream lines{std::string{route_table}};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields{line};
    std::string interface, destination, gateway;
    if (!(fields >> interface >> destination >> gateway) || destination != "00000000") continue;
    if (std::ranges::find(interfaces, interface) == interfaces.end()) continue;
    std::uint32_t raw = 0;  // network order, as a number of this machine's
    const auto [end, error] = std::from_chars(gateway.data(), gateway.data() + gateway.size(), raw, 16);
    if (error != std::errc{} || end != gateway.data() + gateway.size() || raw == 0) continue;
    Ipv4Address address;
    std::memcpy(address.octets.data(), &raw, sizeof raw);
    return address;
  }
  return std::nullopt;
}

EchoProbe::EchoProbe(std::string nic, std::vector<Ipv4Address> targets, EchoLimits limits)
    : nic_{std::move(nic)}, targets_{std::move(targets)}, configured_{!targets_.empty()}, watch_{limits, configured_} {}

std::string EchoProbe::target_names() const {
  std::string names;
  for (const Ipv4Address& target : targets_) names += (names.empty() ? "" : " or ") + target.text();
  return names;
}

void EchoProbe::learn_target() {
  if (configured_ || clock_.now() < learn_at_) return;
  learn_at_ = clock_.now() + kLearnEvery;
  std::vector<std::string> interfaces{nic_};
  std::error_code none;
  const auto master = std::filesystem::read_symlink("/sys/class/net/" + nic_ + "/master", none);
  if (!none) interfaces.push_back(master.filename());
  // One that was learnt stays, though its route may go with the NIC: its silence is then what is to be told.
  if (const auto gateway = gateway_in(read_proc_file("/proc/net/route"), interfaces)) targets_ = {*gateway};
}

// A socket for the interface as it is now: it may have been taken away and come back under the same name.
Result<void> EchoProbe::open() {
  const auto index = static_cast<int>(::if_nametoindex(nic_.c_str()));
  if (index == 0) return Error::from_errno("find " + nic_);
  if (socket_ && index == index_) return {};
  UniqueFd socket{::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};  // 0: nothing before the filter is in force
  if (!socket) return Error::from_errno("packet socket");
  const sock_fprog program{.len = std::size(kOnlyArpReplies), .filter = const_cast<sock_filter*>(kOnlyArpReplies)};
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0)
    return Error::from_errno("filter ARP replies");
  ifreq request{};
  std::strncpy(request.ifr_name, nic_.c_str(), sizeof request.ifr_name - 1);
  if (::ioctl(socket.get(), SIOCGIFHWADDR, &request) < 0) return Error::from_errno("address of " + nic_);
  std::memcpy(own_mac_.octets.data(), request.ifr_hwaddr.sa_data, own_mac_.octets.size());
  own_address_ = {};
  const UniqueFd inet{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (inet && ::ioctl(inet.get(), SIOCGIFADDR, &request) == 0) {
    sockaddr_in address;
    std::memcpy(&address, &request.ifr_addr, sizeof address);
    std::memcpy(own_address_.octets.data(), &address.sin_addr, own_address_.octets.size());
  }
  // All protocols: a bridge takes its port's frames away before a socket for one protocol would see them.
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_protocol = htons(ETH_P_ALL);
  to.sll_ifindex = index;
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0) return Error::from_errno("hear ARP on " + nic_);
  socket_ = std::move(socket);
  index_ = index;
  return {};
}

Result<void> EchoProbe::ask() {
  for (const Ipv4Address& target : targets_) {
    ether_header header{};
    std::memset(header.ether_dhost, 0xFF, sizeof header.ether_dhost);
    std::memcpy(header.ether_shost, own_mac_.octets.data(), own_mac_.octets.size());
    header.ether_type = htons(ETHERTYPE_ARP);
    ether_arp arp{};
    arp.ea_hdr = {.ar_hrd = htons(ARPHRD_ETHER), .ar_pro = htons(ETHERTYPE_IP), .ar_hln = 6, .ar_pln = 4, .ar_op = htons(ARPOP_REQUEST)};
    std::memcpy(arp.arp_sha, own_mac_.octets.data(), own_mac_.octets.size());
    std::memcpy(arp.arp_spa, own_address_.octets.data(), own_address_.octets.size());
    std::memcpy(arp.arp_tpa, target.octets.data(), target.octets.size());
    std::array<std::byte, kArpFrameBytes> frame;
    std::memcpy(frame.data(), &header, sizeof header);
    std::memcpy(frame.data() + sizeof header, &arp, sizeof arp);
    if (::send(socket_.get(), frame.data(), frame.size(), 0) < 0 && errno != EAGAIN && errno != ENOBUFS)
      return Error::from_errno("ask for " + target.text());
  }
  return {};
}

bool EchoProbe::hear() {
  bool answered = false;
  std::array<std::byte, 256> frame;
  while (true) {
    const ssize_t bytes = ::recv(socket_.get(), frame.data(), frame.size(), MSG_DONTWAIT);
    if (bytes < 0) {
      if (errno != EAGAIN && errno != EINTR && errno != ENETDOWN) socket_.reset();
      return answered;
    }
    if (static_cast<std::size_t>(bytes) < kArpFrameBytes) continue;
    ether_arp arp;
    std::memcpy(&arp, frame.data() + sizeof(ether_header), sizeof arp);
    Ipv4Address from;
    std::memcpy(from.octets.data(), arp.arp_spa, from.octets.size());
    const bool to_us = std::memcmp(arp.arp_tha, own_mac_.octets.data(), own_mac_.octets.size()) == 0;
    answered |= to_us && std::ranges::find(targets_, from) != targets_.end();
    if (!socket_) return answered;
  }
}

void EchoProbe::exercise(ProbeReport& report, Duration wait) {
  learn_target();
  if (targets_.empty() || report.health != Health::kHealthy) return;
  if (auto opened = open(); !opened) {
    report.text += ", and its neighbours can't be asked: " + opened.error().text();
    report.health = Health::kDegraded;
    return;
  }
  if (hear()) watch_.note_reply(clock_.now());
  if (watch_.due(clock_.now())) {
    watch_.note_sent(clock_.now());
    if (auto asked = ask(); !asked) report.text += ", and " + asked.error().text();
    const Instant until = clock_.now() + wait;
    for (Instant now = clock_.now(); now < until && socket_; now = clock_.now()) {
      pollfd one{.fd = socket_.get(), .events = POLLIN, .revents = 0};
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now);
      if (::poll(&one, 1, static_cast<int>(left.count())) <= 0) break;
      if (hear()) {
        watch_.note_reply(clock_.now());
        break;
      }
    }
  }
  watch_.judge(report, target_names(), clock_.now());
}

}  // namespace understudy
