#include "tests/lab/stand_in_server.h"

#include <array>
#include <poll.h>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/lab/netns.h"
#include "tests/lab/stand_in.h"

namespace understudy::lab {

namespace {

Result<UniqueFd> listen_here(std::uint16_t port) {
  UniqueFd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!socket) return Error::from_errno("open the stand-in's socket");
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) return Error::from_errno("bind the stand-in");
  if (::listen(socket.get(), 16) < 0) return Error::from_errno("listen as the stand-in");
  return socket;
}

}  // namespace

Result<std::unique_ptr<StandInServer>> StandInServer::start(const std::string& host, std::uint16_t port, Service service) {
  US_TRY(take_guest_addresses(host));
  Result<UniqueFd> opened = Error{ErrorCode::kFailed, "not run"};
  std::thread{[&] {
    opened = [&]() -> Result<UniqueFd> {
      US_TRY(enter_namespace(host));
      return listen_here(port);
    }();
  }}.join();
  if (!opened) return std::move(opened.error());
  std::unique_ptr<StandInServer> server{new StandInServer{std::move(*opened), std::move(service)}};
  server->thread_ = std::thread{[raw = server.get()] { raw->run(); }};
  return server;
}

StandInServer::~StandInServer() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

void StandInServer::run() {
  constexpr int kTickMs = 5;
  while (!stopping_) {
    std::vector<pollfd> waiting{{.fd = socket_.get(), .events = POLLIN, .revents = 0}};
    for (const auto& [fd, connection] : connections_) waiting.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    if (::poll(waiting.data(), waiting.size(), kTickMs) <= 0) continue;
    if (waiting[0].revents != 0) accept_one();
    for (std::size_t i = 1; i < waiting.size(); ++i) {
      if (waiting[i].revents != 0 && !serve(waiting[i].fd, connections_.at(waiting[i].fd).second)) connections_.erase(waiting[i].fd);
    }
  }
  connections_.clear();
}

void StandInServer::accept_one() {
  UniqueFd connection{::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
  if (!connection) return;
  ++accepted_;
  const int fd = connection.get();
  connections_.emplace(fd, std::pair{std::move(connection), std::string{}});
}

// False: the connection is over.
bool StandInServer::serve(int connection, std::string& received) {
  std::array<char, 4096> buffer;
  const auto bytes = ::recv(connection, buffer.data(), buffer.size(), 0);
  if (bytes <= 0) return false;
  received.append(buffer.data(), static_cast<std::size_t>(bytes));
  std::string_view rest = received;
  const Answer answer = service_(rest);
  received.erase(0, received.size() - rest.size());
  for (std::string_view out = answer.bytes; !out.empty();) {
    const auto sent = ::send(connection, out.data(), out.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    out.remove_prefix(static_cast<std::size_t>(sent));
  }
  return !answer.closes;
}

}  // namespace understudy::lab
