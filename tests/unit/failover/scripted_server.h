// A TCP server on loopback that does with each connection what a test says: for clients whose peer misbehaves.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <poll.h>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "net/base/unique_fd.h"

namespace understudy {

class ScriptedServer {
 public:
  // One at a time, on the server's thread.
  class Connection {
   public:
    Connection(int socket, const std::atomic<bool>& stopping) : socket_{socket}, stopping_{stopping} {}
    // The next request, head and body; empty when the client is gone or the test is over.
    std::string request() const {
      std::string text;
      while (true) {
        const auto head = text.find("\r\n\r\n");
        const auto length = text.find("Content-Length: ");
        if (head != std::string::npos && length != std::string::npos && text.size() >= head + 4 + std::stoul(text.substr(length + 16)))
          return text;
        char bytes[4096];
        if (!ready()) return {};
        const auto got = ::recv(socket_, bytes, sizeof bytes, 0);
        if (got <= 0) return {};
        text.append(bytes, static_cast<std::size_t>(got));
      }
    }
    bool send(std::string_view text) const {
      return ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
    }
    bool answer(std::string_view status, std::string_view body) const {
      return send("HTTP/1.1 " + std::string{status} +
                  "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string{body});
    }
    // Until the client hangs up; false: the test is over first.
    bool until_gone() const {
      char byte = 0;
      while (ready()) {
        if (::recv(socket_, &byte, 1, 0) <= 0) return true;
      }
      return false;
    }
    bool over() const { return stopping_; }

   private:
    bool ready() const {
      pollfd readable{socket_, POLLIN, 0};
      while (!stopping_) {
        if (::poll(&readable, 1, 20) > 0) return true;
      }
      return false;
    }
    const int socket_;
    const std::atomic<bool>& stopping_;
  };
  using Script = std::function<void(const Connection&)>;

  explicit ScriptedServer(Script script) : script_{std::move(script)}, listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_.get(), 8), 0);
    EXPECT_EQ(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread{[this] { run(); }};
  }
  ~ScriptedServer() {
    stopping_ = true;
    thread_.join();
  }
  std::uint16_t port() const { return port_; }
  int connections() const { return connections_; }

 private:
  void run() {
    pollfd readable{listener_.get(), POLLIN, 0};
    while (!stopping_) {
      if (::poll(&readable, 1, 20) <= 0) continue;
      const UniqueFd socket{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
      ++connections_;
      script_(Connection{socket.get(), stopping_});
    }
  }

  const Script script_;
  const UniqueFd listener_;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> connections_{0};
  std::thread thread_;
};

}  // namespace understudy
