// What ZeroMQ reports of a socket's connections: breaks, and handshakes that failed. Private to net/.
//
// Loop-owned. A connection's events come in order; what happened before a message was received is found by a drain() after receiving it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "net/zmq_socket.h"

namespace understudy {

enum class HandshakeFailure : std::uint8_t {
  kClosed,       // closed, or silent for too long
  kNotAdmitted,  // the listening end does not admit this end's key
  kWrongKey,     // it was encrypted for another key than this end's, or by another than it claimed
  kNoSecurity,   // one end wants keys and the other does not
  kProtocol,     // no handshake of ZeroMQ's
};

class ZmqMonitor {
 public:
  // `connected(fd)`: made or accepted, before its handshake. `disconnected(fd)`: the connection that had this descriptor, which may be in
  // use again already. `handshake_failed(endpoint, why)`: of this socket's endpoint; whoever is at the other end is no such socket, or has
  // not the right key. Told right before that connection's end, but for a key that is not admitted.
  struct Handlers {
    std::function<void(int connection_fd)> connected;
    std::function<void(int connection_fd)> disconnected;
    std::function<void(const std::string& endpoint, HandshakeFailure why)> handshake_failed;
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
