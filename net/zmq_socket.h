// One ZeroMQ socket on an event loop. Private to net/ and the witness: others use Link and Arbiter.
//
// ZeroMQ's file descriptor is edge-triggered in disguise: it signals that the socket's state may have changed, and any operation on the
// socket, a send included, may swallow the signal. So after each operation the real state (ZMQ_EVENTS) is looked at again; this class is
// where that is done. Nothing blocks. Loop-owned; not to be destroyed from within one of its callbacks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <zmq.hpp>

#include "net/base/event_loop.h"
#include "net/curve_key.h"
#include "net/doorkeeper.h"
#include "net/link.h"
#include "net/zmq_context.h"

namespace understudy {

// Limits and habits that all our sockets share.
struct ZmqLimits {
  std::size_t queue_messages = 64;
  // A message with a larger frame is dropped and told; one with a frame of more than twice that breaks its connection, unread.
  std::size_t max_frame_bytes = std::size_t{1} << 20;
  std::size_t max_frames = 16;
  Duration reconnect_interval = std::chrono::milliseconds{50};
  // A TCP connection whose bytes stay unacknowledged for so long is closed, to be made anew.
  Duration dead_after = std::chrono::seconds{5};
};

struct ZmqIncoming {
  Message frames;          // of a ROUTER: the sender's name first
  int connection_fd = -1;  // which of the socket's connections it came by, for matching with the monitor's events
};

class ZmqSocket {
 public:
  enum class Sent : std::uint8_t {
    kQueued,
    kFull,    // nothing was queued; on_writable follows. Of a DEALER also: there is no connection
    kNoPeer,  // of a ROUTER: nobody of that name is connected; nothing was queued
  };

  // kFailed when the process's sockets are used up. `type`: ZMQ_ROUTER, ZMQ_DEALER.
  static Result<std::unique_ptr<ZmqSocket>> create(EventLoop& loop, std::shared_ptr<ZmqContext> context, int type, const ZmqLimits& limits);
  ~ZmqSocket();

  void set(int option, int value);
  void set(int option, std::string_view value);
  // CURVE, before bind(): only who proves one of `keys.admitted` gets a connection. Errors: the doorkeeper's.
  Result<void> secure_listener(const ServiceKeys& keys);
  // CURVE, before connect(): nothing is sent to whoever cannot prove `keys.peer`.
  void secure_connector(const LinkKeys& keys);
  // Of a secure listener; else nullptr.
  Doorkeeper::Door* door() const { return door_.get(); }
  // Once, after all options. kInvalid for what is no endpoint; kFailed with the system's reason.
  Result<void> bind(const std::string& endpoint);
  Result<void> connect(const std::string& endpoint);
  // Connects again to where connect() did: ZeroMQ gives up for good on whoever refused its handshake. Breaks what is connected there.
  void reconnect();
  std::string last_endpoint();

  // Delivers from now on. Messages come one at a time; one with more or larger frames than allowed goes to `oversized` instead.
  struct Handlers {
    std::function<void(ZmqIncoming)> message;
    std::function<void()> writable = [] {};
    std::function<void(int connection_fd)> oversized = [](int) {};
  };
  Result<void> start(Handlers handlers);

  // All frames, or none. With `to`, that name goes first. Frames below `copy_below_bytes` are copied.
  Sent send(std::optional<std::string_view> to, std::span<const Frame> frames, std::size_t copy_below_bytes = 512);
  bool writable();
  // Delivers all that has arrived, now.
  void deliver_all();

  zmq::socket_t& raw() { return socket_; }

 private:
  ZmqSocket(EventLoop& loop, std::shared_ptr<ZmqContext> context, int type, const ZmqLimits& limits);
  void set_key(int option, const CurveKeyBytes& key);
  std::optional<ZmqIncoming> receive();
  int events();
  void pump();
  void pump_soon();
  void look_again_later();

  EventLoop& loop_;
  const std::shared_ptr<ZmqContext> context_;
  const ZmqLimits limits_;
  std::unique_ptr<Doorkeeper::Door> door_;
  std::string connected_to_;
  zmq::socket_t socket_;
  Handlers handlers_;
  int watched_fd_ = -1;
  bool full_ = false;                                             // a send found no room: tell when there is
  bool pump_scheduled_ = false;                                   // one posted pump at a time
  bool look_scheduled_ = false;                                   // and one timer
  const std::shared_ptr<char> alive_ = std::make_shared<char>();  // a posted pump finds out that the socket is gone
};

}  // namespace understudy
