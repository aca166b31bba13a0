#include "tests/lab/kv_client.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <poll.h>

#include <sys/socket.h>

#include "tests/lab/client_socket.h"

namespace understudy::lab {

Result<std::unique_ptr<KvClient>> KvClient::start(const Clock& clock, const std::string& network_namespace, Ipv4Address server,
                                                  const Workload::Options& options) {
  US_ASSIGN(auto socket, open_client_socket(network_namespace, Transport::kUdp, server, guest::kKvPort));
  std::unique_ptr<KvClient> client{new KvClient{clock, std::move(socket), options}};
  client->thread_ = std::thread{[raw = client.get()] { raw->run(); }};
  return client;
}

KvClient::KvClient(const Clock& clock, UniqueFd socket, const Workload::Options& options)
    : clock_{clock}, socket_{std::move(socket)}, workload_{options} {}

KvClient::~KvClient() { finish(Duration{0}); }

void KvClient::finish(Duration deadline) {
  give_up_at_ns_ = to_ns(clock_.now() + deadline);
  if (thread_.joinable()) thread_.join();
}

void KvClient::run() {
  constexpr Duration kLongestWait = std::chrono::milliseconds{20};
  bool reading_back = false;
  while (true) {
    const Instant now = clock_.now();
    const std::int64_t give_up_at_ns = give_up_at_ns_.load();
    if (give_up_at_ns != INT64_MAX && !reading_back) {
      reading_back = true;
      reading_back_since_ = now;
      workload_.read_back();
    }
    if (const auto how = end_order_.exchange(0); how != 0) workload_.end_guest(static_cast<guest::GuestEnd>(how));
    if (workload_.finished() || to_ns(now) >= give_up_at_ns) return;
    // A network that is down for the moment refuses a datagram; it is unanswered then, and repeated.
    workload_.pump(now, [&](const guest::KvRequest& request) {
      [[maybe_unused]] const auto sent = ::send(socket_.get(), &request, sizeof request, 0);
    });
    const Duration wait = std::clamp(std::min(workload_.next_due(), clock_.now() + kLongestWait) - clock_.now(), Duration{0}, kLongestWait);
    pollfd readable{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    ::poll(&readable, 1, static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(wait).count()));
    receive();
  }
}

void KvClient::receive() {
  std::array<std::byte, 512> datagram;
  while (true) {
    const auto received = ::recv(socket_.get(), datagram.data(), datagram.size(), 0);
    if (received < 0 && errno == ECONNREFUSED) continue;  // an ICMP error that waited on the socket; the next read goes past it
    if (received < 0) return;
    const auto before = workload_.unanswered();
    workload_.take(std::span{datagram}.first(static_cast<std::size_t>(received)), clock_.now());
    if (workload_.unanswered() < before) acknowledged_.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace understudy::lab
