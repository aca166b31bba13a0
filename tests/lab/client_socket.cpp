#include "tests/lab/client_socket.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <thread>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "tests/lab/netns.h"

namespace understudy::lab {

namespace {

Result<UniqueFd> open_here(Transport transport, Ipv4Address server, std::uint16_t port) {
  const bool tcp = transport == Transport::kTcp;
  UniqueFd socket{::socket(AF_INET, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!socket) return Error::from_errno("open a socket of the client");
  const int on = 1;
  if (tcp && ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) return Error::from_errno("set TCP_NODELAY");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  std::memcpy(&address.sin_addr, server.octets.data(), server.octets.size());
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 && errno != EINPROGRESS)
    return Error::from_errno("connect the client to " + server.text() + ":" + std::to_string(port));
  return socket;
}

}  // namespace

Result<UniqueFd> open_client_socket(const std::string& network_namespace, Transport transport, Ipv4Address server, std::uint16_t port) {
  // A thread of its own enters the namespace: the caller stays where it is, and the socket remembers where it was opened.
  Result<UniqueFd> opened = Error{ErrorCode::kFailed, "not run"};
  std::thread{[&] {
    opened = [&]() -> Result<UniqueFd> {
      US_TRY(enter_namespace(network_namespace));
      return open_here(transport, server, port);
    }();
  }}.join();
  return opened;
}

bool wait_for(const UniqueFd& socket, short events, const Clock& clock, Instant deadline) {
  while (true) {
    const Duration left = std::max(deadline - clock.now(), Duration{0});
    pollfd waiting{.fd = socket.get(), .events = events, .revents = 0};
    const auto milliseconds = std::min<std::int64_t>(std::chrono::ceil<std::chrono::milliseconds>(left).count(), 1000);
    if (::poll(&waiting, 1, static_cast<int>(milliseconds)) > 0) return true;
    if (left == Duration{0}) return false;
  }
}

Result<void> socket_error(const UniqueFd& socket, const std::string& what) {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) < 0) return Error::from_errno(what);
  if (error == 0) return {};
  errno = error;
  return Error::from_errno(what);
}

}  // namespace understudy::lab
