// The link between the two nodes of a pair, over ZeroMQ: one binds, the other connects.
//
// Both ends are ROUTER sockets with fixed names, so that only the named peer's messages are delivered, and a peer's new connection replaces
// its old one at once, in band: no message of an older connection is delivered after on_connection(true). See net/README.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "net/base/event_loop.h"
#include "net/base/ids.h"
#include "net/curve_key.h"
#include "net/link.h"
#include "net/refusals.h"
#include "net/zmq_context.h"

namespace understudy {

struct ZmqLinkConfig {
  enum class Side : std::uint8_t { kBind, kConnect };
  Side side = Side::kBind;
  std::string endpoint;             // "tcp://10.0.0.1:7400"; to bind: "tcp://*:7400", or "tcp://127.0.0.1:*" for any free port
  std::string local_name;           // link_name(pair, this node); 1 to 255 bytes
  std::string peer_name;            // link_name(pair, its peer): messages of anyone else are dropped and counted
  std::optional<LinkKeys> keys{};   // encrypted, and with the pinned peer alone; without, anybody's connection is taken
  std::size_t queue_messages = 64;  // waiting to be sent, and as many received and not yet delivered; times the message size bounds memory
  std::size_t max_frame_bytes = std::size_t{32}
                                << 20;  // a message with a larger frame is dropped; above twice that, its sender is disconnected
  std::size_t max_frames = 1024;        // a message of more frames is dropped
  Duration reconnect_interval = std::chrono::milliseconds{50};
  // A TCP connection on which nothing is acknowledged for so long is closed, to be made anew: a dead host, a cut cable, a peer that lets
  // its receive queue stay full.
  Duration dead_after = std::chrono::seconds{5};
};

// "understudy/<pair>/<a|b>"
std::string link_name(PairId pair, NodeId node);

struct LinkCounters {
  std::uint64_t messages_sent = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t messages_received = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t sends_refused = 0;  // kBusy or kUnavailable
  std::uint64_t connections = 0;    // of the named peer, since the start
  std::uint64_t strangers = 0;      // messages of others, dropped
  std::uint64_t oversized = 0;      // messages of too many or too large frames, dropped
};

class ZmqLink final : public Link {
 public:
  // On the loop's thread, or before it runs; so is the destructor, which drops what is queued. Errors: kInvalid (endpoint, name), kFailed
  // with the endpoint (address in use, no such interface).
  static Result<std::unique_ptr<ZmqLink>> create(EventLoop& loop, std::shared_ptr<ZmqContext> context, const ZmqLinkConfig& config);
  ~ZmqLink() override;

  // Frames of kCopyBelowBytes and more are sent without a copy. The owner of such a frame is released by a thread of ZeroMQ's.
  static constexpr std::size_t kCopyBelowBytes = 512;
  Result<void> send(Message message) override;
  void on_message(std::function<void(Message)> handler) override;
  void on_writable(std::function<void()> handler) override;
  void on_connection(std::function<void(bool connected)> handler) override;

  bool connected() const;
  // The address in use, with the real port where the configuration said "*".
  const std::string& endpoint() const;
  const LinkCounters& counters() const;
  const Refusals& refusals() const;

 private:
  class Impl;
  explicit ZmqLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace understudy
