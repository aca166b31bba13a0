#include "tests/lab/stand_in.h"

#include <poll.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/lab/child.h"
#include "tests/lab/lab_pair.h"
#include "tests/lab/netns.h"

namespace understudy::lab {

namespace {

// Any frame of the guest's address from here teaches the switch where it is now: a datagram to the client's discard port, and the ARP
// request before it.
void announce(int socket) {
  sockaddr_in client{};
  client.sin_family = AF_INET;
  client.sin_port = htons(9);
  ::inet_pton(AF_INET, "10.77.0.2", &client.sin_addr);
  [[maybe_unused]] const auto sent = ::sendto(socket, "", 0, 0, reinterpret_cast<const sockaddr*>(&client), sizeof client);
}

}  // namespace

Result<void> take_guest_addresses(const std::string& host) {
  const MonotonicClock clock;
  const std::vector<std::string> commands[] = {
      {"ip", "-n", host, "link", "set", "br-svc", "address", kGuestMac.text()},
      {"ip", "-n", host, "address", "replace", kGuestIp.text() + "/24", "dev", "br-svc"},
  };
  for (const auto& command : commands) {
    if (auto done = run_command(clock, command, std::chrono::seconds{5}); !done) return std::move(done.error());
  }
  return {};
}

Result<std::unique_ptr<StandIn>> StandIn::start(const std::string& host, const guest::KvService& state) {
  US_TRY(take_guest_addresses(host));
  Result<UniqueFd> opened = Error{ErrorCode::kFailed, "not run"};
  std::thread{[&] {
    opened = [&]() -> Result<UniqueFd> {
      US_TRY(enter_namespace(host));
      UniqueFd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
      if (!socket) return Error::from_errno("open the stand-in's socket");
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(guest::kKvPort);
      if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
        return Error::from_errno("bind the stand-in");
      announce(socket.get());
      return socket;
    }();
  }}.join();
  if (!opened) return std::move(opened.error());
  std::unique_ptr<StandIn> stand_in{new StandIn{std::move(*opened), state}};
  stand_in->thread_ = std::thread{[raw = stand_in.get()] { raw->run(); }};
  return stand_in;
}

guest::KvService StandIn::stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
  socket_.reset();
  return service_;
}

void StandIn::run() {
  constexpr int kTickMs = 5;
  std::array<unsigned char, 512> request;
  std::array<unsigned char, 512> reply;
  while (!stopping_) {
    pollfd readable{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    ::poll(&readable, 1, kTickMs);
    sockaddr_in client{};
    socklen_t size = sizeof client;
    const auto received = ::recvfrom(socket_.get(), request.data(), request.size(), 0, reinterpret_cast<sockaddr*>(&client), &size);
    if (received < 0) continue;
    const std::size_t bytes = service_.answer(std::span{request}.first(static_cast<std::size_t>(received)), reply);
    service_.take_mutations();
    if (bytes > 0) [[maybe_unused]]
      const auto sent = ::sendto(socket_.get(), reply.data(), bytes, 0, reinterpret_cast<const sockaddr*>(&client), size);
  }
}

}  // namespace understudy::lab
