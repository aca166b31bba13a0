#include "tests/benchmarks/guest_client.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "tests/benchmarks/comparison.h"

namespace understudy::bench {

namespace {

constexpr std::size_t kMessageBytes = 64;
constexpr std::size_t kStreamBufferBytes = std::size_t{256} << 10;
constexpr unsigned kLossesAllowed = 5;
constexpr std::uint16_t kPingId = 0x7573;

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

Error failed(const std::string& what) {
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINPROGRESS) return {ErrorCode::kTimeout, what + ": no answer in time"};
  return Error::from_errno(what);
}

Result<void> send_all(const UniqueFd& socket, const void* data, std::size_t bytes, const std::string& what) {
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const auto sent = ::send(socket.get(), from, bytes, MSG_NOSIGNAL);
    if (sent < 0) return failed(what);
    from += sent;
    bytes -= static_cast<std::size_t>(sent);
  }
  return {};
}

Result<void> receive_all(const UniqueFd& socket, void* data, std::size_t bytes, const std::string& what) {
  auto* to = static_cast<char*>(data);
  while (bytes > 0) {
    const auto got = ::recv(socket.get(), to, bytes, 0);
    if (got < 0) return failed(what);
    if (got == 0) return Error{ErrorCode::kUnavailable, what + ": the guest closed the connection"};
    to += got;
    bytes -= static_cast<std::size_t>(got);
  }
  return {};
}

// Over the header alone (RFC 792).
std::uint16_t checksum_of(const icmphdr& header) {
  std::array<std::uint16_t, sizeof header / 2> words{};
  std::memcpy(words.data(), &header, sizeof header);
  std::uint32_t sum = 0;
  for (const std::uint16_t word : words) sum += word;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

// Whether the answer to that ping came before the socket's deadline; other packets are passed over.
bool await_pong(const UniqueFd& socket, const sockaddr_in& guest, std::uint16_t sequence) {
  std::array<std::byte, 2048> packet{};
  while (true) {
    sockaddr_in from{};
    socklen_t from_bytes = sizeof from;
    const auto got = ::recvfrom(socket.get(), packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&from), &from_bytes);
    if (got < 0) return false;
    const std::size_t ip_bytes = (std::to_integer<std::size_t>(packet[0]) & 0xf) * 4;
    icmphdr header{};
    if (static_cast<std::size_t>(got) < ip_bytes + sizeof header || from.sin_addr.s_addr != guest.sin_addr.s_addr) continue;
    std::memcpy(&header, packet.data() + ip_bytes, sizeof header);
    if (header.type == ICMP_ECHOREPLY && header.un.echo.id == htons(kPingId) && header.un.echo.sequence == sequence) return true;
  }
}

}  // namespace

Result<sockaddr_in> GuestClient::address_of(std::uint16_t port) const {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (::inet_pton(AF_INET, options_.guest_ip.c_str(), &address.sin_addr) != 1)
    return Error{ErrorCode::kInvalid, "'" + options_.guest_ip + "' is no IPv4 address"};
  return address;
}

Result<void> GuestClient::bound_waiting(const UniqueFd& socket) const {
  const auto whole = std::chrono::duration_cast<std::chrono::microseconds>(options_.deadline).count();
  const timeval bound{.tv_sec = whole / 1'000'000, .tv_usec = whole % 1'000'000};
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound) < 0 ||
      ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound) < 0)
    return Error::from_errno("set a socket's deadline");
  return {};
}

Result<UniqueFd> GuestClient::connect_to(int type, std::uint16_t port) const {
  UniqueFd socket{::socket(AF_INET, type | SOCK_CLOEXEC, 0)};
  if (!socket) return Error::from_errno("open a socket");
  US_TRY(bound_waiting(socket));
  const int on = 1;
  if (type == SOCK_STREAM && ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
    return Error::from_errno("set a socket's options");
  US_ASSIGN(const auto address, address_of(port));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
    return failed(fmt::format("connect to the guest's port {}", port));
  return socket;
}

Result<std::vector<double>> GuestClient::round_trips_us(const UniqueFd& socket, unsigned losses_allowed) const {
  std::array<char, kMessageBytes> sent{};
  std::array<char, kMessageBytes> answer{};
  std::vector<double> samples;
  unsigned losses = 0;
  const Instant until = clock_.now() + options_.each;
  while (samples.empty() || clock_.now() < until) {
    // Each message is another, so that a late echo is not taken for the answer.
    const std::uint64_t number = samples.size() + losses + 1;
    std::memcpy(sent.data(), &number, sizeof number);
    const Instant began = clock_.now();
    US_TRY(send_all(socket, sent.data(), sent.size(), "send to the echo"));
    const auto echoed = receive_all(socket, answer.data(), answer.size(), "wait for the echo");
    if (echoed && answer == sent) {
      samples.push_back(seconds(clock_.now() - began) * 1e6);
    } else if (++losses > losses_allowed) {
      if (!echoed) return echoed.error();
      return Error{ErrorCode::kCorrupt, "the echo is not what was sent"};
    }
  }
  return samples;
}

Result<std::vector<double>> GuestClient::udp_round_trips_us() const {
  US_ASSIGN(const auto socket, connect_to(SOCK_DGRAM, kEchoPort));
  return round_trips_us(socket, kLossesAllowed);
}

Result<std::vector<double>> GuestClient::ping_round_trips_us() const {
  const UniqueFd socket{::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP)};
  if (!socket) return Error::from_errno("open a raw socket");
  US_TRY(bound_waiting(socket));
  US_ASSIGN(const auto address, address_of(0));
  std::vector<double> samples;
  unsigned losses = 0;
  std::uint16_t number = 0;
  const Instant until = clock_.now() + options_.each;
  while (samples.empty() || clock_.now() < until) {
    std::array<std::byte, kMessageBytes> packet{};
    icmphdr header{};
    header.type = ICMP_ECHO;
    header.un.echo = {.id = htons(kPingId), .sequence = htons(++number)};
    header.checksum = checksum_of(header);  // the rest is zeros
    std::memcpy(packet.data(), &header, sizeof header);
    const Instant began = clock_.now();
    if (::sendto(socket.get(), packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
      return failed("send a ping");
    if (await_pong(socket, address, header.un.echo.sequence))
      samples.push_back(seconds(clock_.now() - began) * 1e6);
    else if (++losses > kLossesAllowed)
      return Error{ErrorCode::kTimeout, "pings stay without an answer"};
  }
  return samples;
}

namespace {

Result<double> median_of(Result<std::vector<double>> samples) {
  if (!samples) return std::move(samples.error());
  return summarize(std::move(*samples))->median;
}

}  // namespace

Result<double> GuestClient::udp_round_trip_us() const { return median_of(udp_round_trips_us()); }

Result<double> GuestClient::tcp_round_trip_us() const {
  US_ASSIGN(const auto socket, connect_to(SOCK_STREAM, kEchoPort));
  return median_of(round_trips_us(socket, 0));
}

Result<double> GuestClient::tcp_to_guest_mib_s() const {
  US_ASSIGN(const auto socket, connect_to(SOCK_STREAM, kSinkPort));
  const std::vector<char> buffer(kStreamBufferBytes, 'h');
  std::uint64_t total = 0;
  const Instant began = clock_.now();
  while (total == 0 || clock_.now() - began < options_.each) {
    US_TRY(send_all(socket, buffer.data(), buffer.size(), "stream to the guest"));
    total += buffer.size();
  }
  // The guest answers once it has everything.
  ::shutdown(socket.get(), SHUT_WR);
  std::uint64_t taken = 0;
  US_TRY(receive_all(socket, &taken, sizeof taken, "wait for the end of the stream to the guest"));
  const double took = seconds(clock_.now() - began);
  if (taken != total) return Error{ErrorCode::kCorrupt, fmt::format("the guest took {} of {} bytes", taken, total)};
  return static_cast<double>(total) / kMib / took;
}

Result<double> GuestClient::tcp_from_guest_mib_s() const {
  US_ASSIGN(const auto socket, connect_to(SOCK_STREAM, kSourcePort));
  std::vector<char> buffer(kStreamBufferBytes);
  std::uint64_t total = 0;
  const Instant began = clock_.now();
  while (total == 0 || clock_.now() - began < options_.each) {
    const auto got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (got < 0) return failed("stream from the guest");
    if (got == 0) return Error{ErrorCode::kUnavailable, "stream from the guest: it closed the connection"};
    total += static_cast<std::uint64_t>(got);
  }
  return static_cast<double>(total) / kMib / seconds(clock_.now() - began);
}

Result<double> GuestClient::disk_blocks_s(DiskOrder order) const {
  order.run_ms = static_cast<std::uint32_t>(std::chrono::ceil<std::chrono::milliseconds>(options_.each).count());
  US_ASSIGN(const auto socket, connect_to(SOCK_STREAM, kDiskPort));
  const Instant began = clock_.now();
  US_TRY(send_all(socket, &order, sizeof order, "tell the guest what to do with its disk"));
  DiskAnswer answer;
  US_TRY(receive_all(socket, &answer, sizeof answer, "wait for the guest's disk"));
  const double took = seconds(clock_.now() - began);
  if (answer.error_number != 0) return Error::from_errno("the guest's disk", answer.error_number);
  return static_cast<double>(answer.blocks) / took;
}

}  // namespace understudy::bench
