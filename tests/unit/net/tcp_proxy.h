// A wire that can be cut: forwards one TCP port's connections to another, and while cut drops nothing and passes nothing, as a network
// partition does: neither end is told.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <poll.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "net/base/check.h"
#include "net/base/unique_fd.h"

namespace understudy {

class TcpProxy {
 public:
  // `endpoint`: "tcp://127.0.0.1:port".
  explicit TcpProxy(const std::string& endpoint)
      : to_port_{static_cast<std::uint16_t>(std::stoi(endpoint.substr(endpoint.rfind(':') + 1)))} {
    listener_ = UniqueFd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    auto address = loopback(0);
    US_CHECK(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 && ::listen(listener_.get(), 64) == 0);
    socklen_t size = sizeof address;
    US_CHECK(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    endpoint_ = "tcp://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::thread{[this] { run(); }};
  }
  ~TcpProxy() {
    stop_ = true;
    thread_.join();
  }

  const std::string& endpoint() const { return endpoint_; }
  void cut(bool cut) { cut_ = cut; }

 private:
  struct Wire {
    UniqueFd from, to;
    bool closed = false;
  };

  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  void run() {
    while (!stop_) {
      std::vector<pollfd> fds{{listener_.get(), POLLIN, 0}};
      for (const auto& wire : wires_) {
        fds.push_back({wire.from.get(), POLLIN, 0});
        fds.push_back({wire.to.get(), POLLIN, 0});
      }
      // What is cut is not even looked at; the wait is short so that stop and cut are seen.
      ::poll(fds.data(), cut_ ? 0 : fds.size(), 5);
      if (cut_) continue;
      const auto count = wires_.size();
      for (std::size_t i = 0; i < count; ++i) {
        if (fds[1 + 2 * i].revents != 0) forward(wires_[i], wires_[i].from.get(), wires_[i].to.get());
        if (!wires_[i].closed && fds[2 + 2 * i].revents != 0) forward(wires_[i], wires_[i].to.get(), wires_[i].from.get());
      }
      if (fds[0].revents != 0) accept();
      std::erase_if(wires_, [](const Wire& wire) { return wire.closed; });
    }
  }
  void accept() {
    Wire wire{UniqueFd{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)},
              UniqueFd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)}};
    auto address = loopback(to_port_);
    if (::connect(wire.to.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) wires_.push_back(std::move(wire));
  }
  static void forward(Wire& wire, int from, int to) {
    char bytes[65536];
    const auto got = ::read(from, bytes, sizeof bytes);
    if (got <= 0 || ::send(to, bytes, static_cast<std::size_t>(got), MSG_NOSIGNAL) != got) wire.closed = true;
  }

  const std::uint16_t to_port_;
  UniqueFd listener_;
  std::string endpoint_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> cut_{false};
  std::vector<Wire> wires_;  // the thread's alone
  std::thread thread_;
};

}  // namespace understudy
