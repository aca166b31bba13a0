#include "net/zmq_door.h"

#include <array>
#include <utility>

#include <arpa/inet.h>
#include <sys/socket.h>

#include "net/base/log.h"

namespace understudy {

namespace {

constexpr Duration kKnockAgain = std::chrono::seconds{1};

// Of the other end, without the port, as ZeroMQ writes it for the doorkeeper; empty when it is gone already.
std::string address_of(int fd) {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) < 0) return {};
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* const address = peer.ss_family == AF_INET ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in&>(peer).sin_addr)
                              : peer.ss_family == AF_INET6
                                  ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr)
                                  : nullptr;
  if (address == nullptr || ::inet_ntop(peer.ss_family, address, text.data(), text.size()) == nullptr) return {};
  return text.data();
}

const char* listener_says(std::optional<HandshakeFailure> failure) {
  if (!failure) return "it sent no handshake that is understood here";
  switch (*failure) {
    case HandshakeFailure::kClosed:
      return "it closed the connection, or said nothing";
    case HandshakeFailure::kNotAdmitted:
      return "its key is not pinned";
    case HandshakeFailure::kWrongKey:
      return "it expects another key at this end, or cannot prove its own";
    case HandshakeFailure::kNoSecurity:
      return "one end of this link is secured by keys, and the other is not";
    case HandshakeFailure::kProtocol:
      return "its handshake is malformed";
  }
  return "";
}

}  // namespace

Result<std::unique_ptr<ZmqDoor>> ZmqDoor::create(EventLoop& loop, ZmqContext& context, ZmqSocket& socket, std::string name, bool listens,
                                                 Handlers handlers) {
  std::unique_ptr<ZmqDoor> door{new ZmqDoor{loop, socket, std::move(name), listens, std::move(handlers)}};
  US_ASSIGN(door->monitor_,
            ZmqMonitor::create(loop, context, socket,
                               {.connected = [d = door.get()](int fd) { d->on_connected(fd); },
                                .disconnected = [d = door.get()](int fd) { d->on_disconnected(fd); },
                                .handshake_failed = [d = door.get()](const std::string& endpoint,
                                                                     HandshakeFailure why) { d->on_handshake_failed(endpoint, why); }}));
  return door;
}

ZmqDoor::ZmqDoor(EventLoop& loop, ZmqSocket& socket, std::string name, bool listens, Handlers handlers)
    : loop_{loop}, socket_{socket}, name_{std::move(name)}, listens_{listens}, handlers_{std::move(handlers)} {}

void ZmqDoor::heard(int connection_fd) {
  const auto found = open_.find(connection_fd);
  if (found != open_.end()) found->second.heard = true;
  bool is_ended = false;  // told before its messages were delivered
  for (auto& ended : ended_) {
    if (ended.fd == connection_fd) is_ended = ended.heard = true;
  }
  if (found == open_.end() && !is_ended) heard_early_.insert(connection_fd);
}

void ZmqDoor::on_connected(int fd) {
  open_[fd] = {.fd = fd, .address = listens_ ? address_of(fd) : std::string{}, .heard = heard_early_.erase(fd) > 0};
  handlers_.connected(fd);
}

void ZmqDoor::on_disconnected(int fd) {
  auto ended = open_.extract(fd);
  const auto failure = std::exchange(failed_now_, std::nullopt);
  if (listens_ && !ended.empty()) {
    ended.mapped().failure = failure;
    ended_.push_back(std::move(ended.mapped()));
    if (ended_.size() == 1)
      loop_.post([this, alive = std::weak_ptr{alive_}] {
        if (!alive.expired()) judge_ended();
      });
  }
  handlers_.disconnected(fd);
}

void ZmqDoor::judge_ended() {
  socket_.deliver_all();
  for (const auto& ended : std::exchange(ended_, {})) {
    if (ended.heard || take_told(ended.address)) continue;
    refuse(ended.address.empty() ? "somebody gone already" : ended.address, listener_says(ended.failure));
  }
}

bool ZmqDoor::take_told(const std::string& address) {
  const auto found = told_.find(address);
  if (found == told_.end()) return false;
  if (--found->second == 0) told_.erase(found);
  return true;
}

void ZmqDoor::on_handshake_failed(const std::string& endpoint, HandshakeFailure why) {
  // A key's connection stays open until the other end has read why, or the handshake's time is over.
  const bool key_refused = listens_ && why == HandshakeFailure::kNotAdmitted && socket_.door() != nullptr;
  if (const auto refused = key_refused ? socket_.door()->take_refused() : std::nullopt) {
    ++told_[refused->address];
    refuse(refused->address, "its key " + refused->key.text() + " is not pinned");
    return;
  }
  if (listens_) {
    failed_now_ = why;
    return;
  }
  if (why != HandshakeFailure::kClosed) knock_again_later();
  // A peer that is not ready yet closes, too: no refusal.
  if (why == HandshakeFailure::kNotAdmitted) refuse(endpoint, "it does not admit this node's key");
  if (why == HandshakeFailure::kNoSecurity) refuse(endpoint, listener_says(why));
  if (why == HandshakeFailure::kWrongKey) refuse(endpoint, "it does not have the pinned key");
  if (why == HandshakeFailure::kProtocol) refuse(endpoint, "its handshake is malformed");
}

// The other end's configuration may be mended while this end lives.
void ZmqDoor::knock_again_later() {
  if (knocks_again_) return;
  knocks_again_ = true;
  loop_.call_at(loop_.clock().now() + kKnockAgain, [this, alive = std::weak_ptr{alive_}] {
    if (alive.expired()) return;
    knocks_again_ = false;
    if (open_.empty()) socket_.reconnect();
  });
}

// Every one is logged: the log itself holds back what comes too often.
void ZmqDoor::refuse(const std::string& address, const std::string& why) {
  refusals_.add({.count = 1, .last = address + ": " + why, .last_at = loop_.clock().now()});
  log(Severity::kWarning, "link: connection refused", {{"link", name_}, {"address", address}, {"reason", why}, {"count", refusals_.count}});
}

}  // namespace understudy
