// What ZeroMQ reports of a socket's connections: breaks, and handshakes that failed. Private to net/.
//
// Loop-owned. A connection's events come in order; what happened before a message was received is found by a drain() after receiving it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "net/zmq_socket.h"

namespace understudy {

class ZmqMonitor {
 public:
  // `connected(fd)`: made or accepted, before its handshake. `disconnected(fd)`: the connection that had this descriptor, which may be in
  // use again already. `handshake_failed(address)`: whoever is at the other end is no such socket.
  struct Handlers {
    std::function<void(int connection_fd)> connected;
    std::function<void(int connection_fd)> disconnected;
    std::function<void(const std::string& address)> handshake_failed;
  };
  // `socket` outlives the monitor. Before bind or connect.
  static Result<std::unique_ptr<ZmqMonitor>> create(EventLoop& loop, ZmqContext& context, ZmqSocket& socket, Handlers handlers);
  ~ZmqMonitor();

  // Reports all events that have happened, now. Also from within a handler of the monitored socket.
  void drain();

 private:
  ZmqMonitor(EventLoop& loop, ZmqContext& context, ZmqSocket& socket, Handlers handlers);

  EventLoop& loop_;
  ZmqSocket& monitored_;
  zmq::socket_t socket_;
  const Handlers handlers_;
  int watched_fd_ = -1;
};

}  // namespace understudy
