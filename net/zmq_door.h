// Who comes and goes at one ZeroMQ socket, and who was refused: the connections that ended before they said a word. Private to net/ and the
// witness.
//
// Loop-owned. ZeroMQ tells of refusals in bits: some failures by an event, some by nothing but the end of the connection (an old protocol,
// a frame too large within the handshake). So every connection is expected to begin with a message (ZMQ_PROBE_ROUTER at the connecting end
// sends one), and one that ends without is counted as refused.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "net/refusals.h"
#include "net/zmq_monitor.h"
#include "net/zmq_socket.h"

namespace understudy {

class ZmqDoor {
 public:
  struct Handlers {
    std::function<void(int connection_fd)> connected = [](int) {};
    std::function<void(int connection_fd)> disconnected = [](int) {};
  };
  // Before bind or connect; `socket` outlives the door. `name` stands in the log: "heartbeat link".
  static Result<std::unique_ptr<ZmqDoor>> create(EventLoop& loop, ZmqContext& context, ZmqSocket& socket, std::string name, bool listens,
                                                 Handlers handlers);

  // A message came by this connection: it is one of ours.
  void heard(int connection_fd);
  // Reports all that has happened, now. Also from within a handler of the socket.
  void drain() { monitor_->drain(); }
  const Refusals& refusals() const { return refusals_; }

 private:
  struct Connection {
    int fd = -1;
    std::string address;
    bool heard = false;
    std::optional<HandshakeFailure> failure{};
  };

  ZmqDoor(EventLoop& loop, ZmqSocket& socket, std::string name, bool listens, Handlers handlers);
  void on_connected(int fd);
  void on_disconnected(int fd);
  void on_handshake_failed(const std::string& endpoint, HandshakeFailure why);
  void judge_ended();
  void knock_again_later();
  bool take_told(const std::string& address);
  void refuse(const std::string& address, const std::string& why);

  EventLoop& loop_;
  ZmqSocket& socket_;
  const std::string name_;
  const bool listens_;
  const Handlers handlers_;
  std::unique_ptr<ZmqMonitor> monitor_;
  std::map<int, Connection> open_;
  std::set<int> heard_early_;                     // connections that were not told of yet
  std::vector<Connection> ended_;                 // to be judged once all that they sent was delivered
  std::optional<HandshakeFailure> failed_now_{};  // of the connection whose end is told next
  std::map<std::string, std::uint64_t> told_;     // by address: refused for their keys, and still to be seen to end
  Refusals refusals_;
  bool knocks_again_ = false;  // a timer is set
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace understudy
