#include "net/zmq_link.h"

#include <bit>
#include <set>
#include <utility>

#include "net/base/check.h"
#include "net/base/log.h"
#include "net/zmq_door.h"
#include "net/zmq_socket.h"

namespace understudy {

std::string link_name(PairId pair, NodeId node) { return "understudy/" + std::to_string(pair.raw()) + "/" + name_of(node); }

class ZmqLink::Impl {
 public:
  Impl(const ZmqLinkConfig& config, std::unique_ptr<ZmqSocket> socket) : config_{config}, socket_{std::move(socket)} {}

  Result<void> open(EventLoop& loop, ZmqContext& context) {
    socket_->set(ZMQ_ROUTING_ID, config_.local_name);
    socket_->set(ZMQ_ROUTER_MANDATORY, 1);  // an absent peer is an answer, not a silent drop
    socket_->set(ZMQ_ROUTER_HANDOVER, 1);   // the peer's new connection wins over one that broke unnoticed
    socket_->set(ZMQ_PROBE_ROUTER, 1);      // each connection begins with an empty message
    const bool listens = config_.side == ZmqLinkConfig::Side::kBind;
    if (config_.keys && listens) US_TRY(socket_->secure_listener({config_.keys->own, {config_.keys->peer}}));
    if (config_.keys && !listens) socket_->secure_connector(*config_.keys);
    US_ASSIGN(door_, ZmqDoor::create(
                         loop, context, *socket_, config_.local_name, listens,
                         {.connected = [this](int fd) { open_fds_.insert(fd); }, .disconnected = [this](int fd) { on_disconnected(fd); }}));
    US_TRY(listens ? socket_->bind(config_.endpoint) : socket_->connect(config_.endpoint));
    endpoint_ = socket_->last_endpoint();
    return socket_->start({.message = [this](ZmqIncoming incoming) { on_incoming(std::move(incoming)); },
                           .writable = [this] { writable_(); },
                           .oversized = [this](int fd) { on_oversized(fd); }});
  }

  Result<void> send(const Message& message) {
    US_CHECK(!message.empty() && !message.front().bytes().empty());  // an empty message marks a new connection
    const auto sent = connection_fd_ < 0 ? ZmqSocket::Sent::kNoPeer : socket_->send(config_.peer_name, message, kCopyBelowBytes);
    if (sent != ZmqSocket::Sent::kQueued) ++counters_.sends_refused;
    if (sent == ZmqSocket::Sent::kFull) return Error{ErrorCode::kBusy, "link queue full"};
    if (sent == ZmqSocket::Sent::kNoPeer) return Error{ErrorCode::kUnavailable, "link to " + config_.peer_name + ": not connected"};
    ++counters_.messages_sent;
    for (const auto& frame : message) counters_.bytes_sent += frame.bytes().size();
    return {};
  }

 private:
  friend class ZmqLink;

  void on_incoming(ZmqIncoming incoming) {
    door_->heard(incoming.connection_fd);
    const auto name = incoming.frames.front().bytes();
    const std::string_view sender{reinterpret_cast<const char*>(name.data()), name.size()};
    if (sender != config_.peer_name) return on_stranger(sender);
    if (incoming.frames.size() == 2 && incoming.frames[1].bytes().empty()) return on_new_connection(incoming.connection_fd);
    if (connection_fd_ < 0) return;  // the rest of a connection whose end was told already
    incoming.frames.erase(incoming.frames.begin());
    ++counters_.messages_received;
    for (const auto& frame : incoming.frames) counters_.bytes_received += frame.bytes().size();
    message_(std::move(incoming.frames));
  }

  // `fd` names the connection only until it breaks: the next one may get the same number. So the monitor's events, which are in order, say
  // whether the connection that this message came by still stands.
  void on_new_connection(int fd) {
    at_the_door_ = true;
    door_->drain();
    at_the_door_ = false;
    end_connection();
    if (!open_fds_.contains(fd)) return;  // it broke already
    connection_fd_ = fd;
    ++counters_.connections;
    connection_(true);
  }

  void on_disconnected(int fd) {
    open_fds_.erase(fd);
    if (fd != connection_fd_) return;
    // What the peer sent before the break has arrived whole: deliver it first, unless its new connection's messages are what comes next.
    const auto connection = counters_.connections;
    if (!at_the_door_) socket_->deliver_all();
    if (counters_.connections == connection) end_connection();
  }

  void end_connection() {
    if (connection_fd_ < 0) return;
    connection_fd_ = -1;
    connection_(false);
  }

  void on_stranger(std::string_view sender) {
    // Told at the first, second, fourth, eighth...: one that hammers at the door does not flood the log.
    if (std::has_single_bit(++counters_.strangers)) {
      std::string printable;
      for (const char c : sender.substr(0, 64)) printable += c >= 0x20 && c < 0x7f ? c : '?';
      log(Severity::kWarning, "link: messages of a stranger dropped",
          {{"endpoint", endpoint_}, {"expected", config_.peer_name}, {"got", printable}, {"count", counters_.strangers}});
    }
  }

  void on_oversized(int fd) {
    door_->heard(fd);
    if (std::has_single_bit(++counters_.oversized))
      log(Severity::kWarning, "link: message of too many or too large frames dropped",
          {{"endpoint", endpoint_},
           {"max_frames", config_.max_frames},
           {"max_frame_bytes", config_.max_frame_bytes},
           {"count", counters_.oversized}});
  }

  const ZmqLinkConfig config_;
  const std::unique_ptr<ZmqSocket> socket_;
  std::unique_ptr<ZmqDoor> door_;  // ends before the socket
  std::string endpoint_;
  int connection_fd_ = -1;    // of the named peer's latest connection; -1: none
  std::set<int> open_fds_;    // of all connections, strangers' included
  bool at_the_door_ = false;  // a new connection's first message is being handled
  LinkCounters counters_;
  std::function<void(Message)> message_ = [](const Message&) {};
  std::function<void()> writable_ = [] {};
  std::function<void(bool)> connection_ = [](bool) {};
};

Result<std::unique_ptr<ZmqLink>> ZmqLink::create(EventLoop& loop, std::shared_ptr<ZmqContext> context, const ZmqLinkConfig& config) {
  for (const auto& name : {config.local_name, config.peer_name}) {
    if (name.empty() || name.size() > 255 || name.front() == '\0')
      return Error{ErrorCode::kInvalid, "link name of " + std::to_string(name.size()) + " bytes: it takes 1 to 255, the first not zero"};
  }
  if (config.local_name == config.peer_name)
    return Error{ErrorCode::kInvalid, "both ends of a link are named " + config.local_name + ": one node is a, the other b"};
  const ZmqLimits limits{.queue_messages = config.queue_messages,
                         .max_frame_bytes = config.max_frame_bytes,
                         .max_frames = config.max_frames + 1,  // the sender's name comes with them
                         .reconnect_interval = config.reconnect_interval,
                         .dead_after = config.dead_after};
  US_ASSIGN(auto socket, ZmqSocket::create(loop, context, ZMQ_ROUTER, limits));
  auto impl = std::make_unique<Impl>(config, std::move(socket));
  if (auto opened = impl->open(loop, *context); !opened) return std::move(opened.error()).within("link to " + config.peer_name);
  return std::unique_ptr<ZmqLink>{new ZmqLink{std::move(impl)}};
}

ZmqLink::ZmqLink(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
ZmqLink::~ZmqLink() = default;
Result<void> ZmqLink::send(Message message) { return impl_->send(message); }
void ZmqLink::on_message(std::function<void(Message)> handler) { impl_->message_ = std::move(handler); }
void ZmqLink::on_writable(std::function<void()> handler) { impl_->writable_ = std::move(handler); }
void ZmqLink::on_connection(std::function<void(bool)> handler) { impl_->connection_ = std::move(handler); }
bool ZmqLink::connected() const { return impl_->connection_fd_ >= 0; }
const std::string& ZmqLink::endpoint() const { return impl_->endpoint_; }
const LinkCounters& ZmqLink::counters() const { return impl_->counters_; }
const Refusals& ZmqLink::refusals() const { return impl_->door_->refusals(); }

}  // namespace understudy
