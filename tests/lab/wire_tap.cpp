#include "tests/lab/wire_tap.h"

#include <poll.h>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

namespace understudy::lab {

namespace {

constexpr int kReceiveBufferBytes = 32 << 20;

Result<UniqueFd> listen_on(const std::string& port) {
  const unsigned index = ::if_nametoindex(port.c_str());
  if (index == 0) return Error::from_errno("find the switch's port " + port + ", which exists only inside tests/lab/lab");
  // Without a protocol until it is bound: it would hear every port meanwhile, and the other host's frames would be taken for this one's.
  UniqueFd socket{::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!socket) return Error::from_errno("open a packet socket for " + port);
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBufferBytes, sizeof kReceiveBufferBytes);
  const int on = 1;
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) < 0) return Error::from_errno("time stamps on " + port);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(index);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) return Error::from_errno("listen on " + port);
  return socket;
}

// The kernel stamps with the real-time clock; its distance from the monotonic one is taken anew for each frame, so that a step of the
// real-time clock between two frames changes nothing.
Instant arrival_of(const msghdr& header, const Clock& clock) {
  const Instant now = clock.now();
  const std::int64_t real_now_ns = realtime_ns();
  for (const cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr;
       item = CMSG_NXTHDR(const_cast<msghdr*>(&header), const_cast<cmsghdr*>(item))) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_TIMESTAMPNS) continue;
    timespec stamp{};
    __builtin_memcpy(&stamp, CMSG_DATA(item), sizeof stamp);
    return now - Duration{real_now_ns - (std::int64_t{stamp.tv_sec} * 1'000'000'000 + stamp.tv_nsec)};
  }
  return now;
}

}  // namespace

Result<std::unique_ptr<WireTap>> WireTap::start(const Clock& clock, const std::array<std::string, 2>& ports, MacAddress guest) {
  std::array<Port, 2> opened;
  for (const NodeId host : kBothNodes) {
    const auto i = static_cast<std::size_t>(host);
    US_ASSIGN(opened[i].socket, listen_on(ports[i]));
    opened[i].host = host;
  }
  std::unique_ptr<WireTap> tap{new WireTap{clock, std::move(opened), guest}};
  tap->thread_ = std::thread{[raw = tap.get()] { raw->run(); }};
  return tap;
}

WireTap::WireTap(const Clock& clock, std::array<Port, 2> ports, MacAddress guest)
    : clock_{clock}, guest_{guest}, ports_{std::move(ports)} {}

WireTap::~WireTap() { stop(); }

void WireTap::stop() {
  stopping_ = true;
  if (!thread_.joinable()) return;
  thread_.join();
  for (auto& port : ports_) {
    receive(port);
    tpacket_stats stats{};
    socklen_t size = sizeof stats;
    if (::getsockopt(port.socket.get(), SOL_PACKET, PACKET_STATISTICS, &stats, &size) == 0) missed_ += stats.tp_drops;
  }
}

void WireTap::run() {
  constexpr int kTickMs = 20;
  while (!stopping_) {
    std::array<pollfd, 2> waiting{};
    for (std::size_t i = 0; i < ports_.size(); ++i)
      waiting[i] = {.fd = ports_[i].gone ? -1 : ports_[i].socket.get(), .events = POLLIN, .revents = 0};
    if (::poll(waiting.data(), waiting.size(), kTickMs) <= 0) continue;
    for (std::size_t i = 0; i < ports_.size(); ++i) {
      if (waiting[i].revents != 0) receive(ports_[i]);
    }
  }
}

void WireTap::receive(Port& port) {
  std::array<std::byte, 65'600> frame;  // between two hosts of one kernel a TCP segment need not be cut to the wire's size
  std::array<char, 256> control;
  while (true) {
    sockaddr_ll from{};
    iovec place{.iov_base = frame.data(), .iov_len = frame.size()};
    msghdr header{};
    header.msg_name = &from;
    header.msg_namelen = sizeof from;
    header.msg_iov = &place;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const auto received = ::recvmsg(port.socket.get(), &header, 0);
    if (received < 0) {
      // ENETDOWN: the interface went down or away, said once; what it received before was read by then.
      if (errno == ENETDOWN) continue;
      port.gone = errno != EAGAIN && errno != EINTR;
      return;
    }
    if (from.sll_pkttype == PACKET_OUTGOING) continue;  // towards the host
    const auto bytes = std::span{frame}.first(std::min(frame.size(), static_cast<std::size_t>(received)));
    if (auto parsed = parse_guest_frame(bytes, guest_, port.host, arrival_of(header, clock_))) frames_.push_back(*parsed);
  }
}

}  // namespace understudy::lab
