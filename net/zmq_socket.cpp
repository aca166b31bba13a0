#include "net/zmq_socket.h"

#include <algorithm>
#include <cerrno>

#include <sys/epoll.h>

#include "net/base/check.h"

#ifdef __SANITIZE_THREAD__
// ZeroMQ is not instrumented: its lock-free queues, and all that is handed over through them, look like races to ThreadSanitizer. Nor is
// libsodium, by which it decrypts into its messages.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libzmq.so\nrace:libzmq.so\ncalled_from_lib:libsodium.so\nrace:libsodium.so\n";
}
#endif

namespace understudy {

namespace {
// After so many messages the loop's other work gets a turn.
constexpr int kMessagesPerTurn = 64;
constexpr Duration kLookAgain = std::chrono::milliseconds{2};

int to_ms_int(Duration duration) { return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()); }

// ZeroMQ has error numbers of its own beside the system's.
Error zmq_error(const std::string& operation) {
  const int number = zmq_errno();
  const auto code = number == EINVAL || number == EPROTONOSUPPORT ? ErrorCode::kInvalid : ErrorCode::kFailed;
  return Error{code, operation + ": " + zmq_strerror(number)};
}

// Signals are not ZeroMQ's to report: the operation simply was not begun.
template <class Operation>
int retry(Operation operation) {
  for (;;) {
    if (const int result = operation(); result >= 0 || errno != EINTR) return result;
  }
}

// The owner lives until ZeroMQ is done with the bytes, on whichever thread that is.
void release_owner(void*, void* owner) { delete static_cast<std::shared_ptr<const void>*>(owner); }

zmq::message_t to_zmq(const Frame& frame, std::size_t copy_below_bytes) {
  const auto bytes = frame.bytes();
  if (bytes.size() < copy_below_bytes || frame.owner() == nullptr) return zmq::message_t{bytes.data(), bytes.size()};
  // ZeroMQ takes a mutable pointer, and only reads.
  auto* data = const_cast<std::byte*>(bytes.data());
  return zmq::message_t{data, bytes.size(), release_owner, new std::shared_ptr<const void>{frame.owner()}};
}
}  // namespace

ZmqContext::ZmqContext(int io_threads) : context_{std::make_unique<zmq::context_t>(io_threads)} {}
ZmqContext::~ZmqContext() { doorkeeper_.reset(); }  // before the context, which waits for its socket
std::shared_ptr<ZmqContext> ZmqContext::create(int io_threads) {
  US_CHECK(io_threads > 0);
  return std::shared_ptr<ZmqContext>{new ZmqContext{io_threads}};
}

Result<Doorkeeper*> ZmqContext::doorkeeper() {
  const std::lock_guard lock{mutex_};
  if (!doorkeeper_) {
    US_ASSIGN(doorkeeper_, Doorkeeper::start(*context_));
  }
  return doorkeeper_.get();
}

Result<std::unique_ptr<ZmqSocket>> ZmqSocket::create(EventLoop& loop, std::shared_ptr<ZmqContext> context, int type,
                                                     const ZmqLimits& limits) {
  try {
    return std::unique_ptr<ZmqSocket>{new ZmqSocket{loop, std::move(context), type, limits}};
  } catch (const zmq::error_t& error) {
    return Error{ErrorCode::kFailed, std::string{"open a ZeroMQ socket: "} + error.what()};
  }
}

ZmqSocket::ZmqSocket(EventLoop& loop, std::shared_ptr<ZmqContext> context, int type, const ZmqLimits& limits)
    : loop_{loop}, context_{std::move(context)}, limits_{limits}, socket_{context_->get(), type} {
  US_CHECK(limits.queue_messages > 0);  // ZeroMQ would take 0 for "without bound"
  set(ZMQ_LINGER, 0);
  set(ZMQ_SNDHWM, static_cast<int>(limits.queue_messages));
  set(ZMQ_RCVHWM, static_cast<int>(limits.queue_messages));
  socket_.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(2 * limits.max_frame_bytes));
  set(ZMQ_IMMEDIATE, 1);  // nothing waits for an absent peer; and each connection gets a fresh queue
  set(ZMQ_RECONNECT_IVL, std::max(1, to_ms_int(limits.reconnect_interval)));
  set(ZMQ_RECONNECT_IVL_MAX, 0);
  // A SYN or a handshake lost in a partition is tried again soon, not after the system's minutes.
  set(ZMQ_CONNECT_TIMEOUT, 1000);
  set(ZMQ_HANDSHAKE_IVL, 2000);
  set(ZMQ_TCP_KEEPALIVE, 1);
  set(ZMQ_TCP_KEEPALIVE_IDLE, 1);
  set(ZMQ_TCP_KEEPALIVE_INTVL, 1);
  set(ZMQ_TCP_KEEPALIVE_CNT, 5);
  // TCP_USER_TIMEOUT (tcp(7)), for data and keepalive probes alike. Not ZMTP heartbeats: in libzmq 4.3.4 a heartbeat's timer that fires on
  // a connection which broke while its receive queue was full aborts the process ("Assertion failed: !_io_error"); a host that was stopped
  // and goes on finds its connections just so.
  set(ZMQ_TCP_MAXRT, std::max(1, to_ms_int(limits.dead_after)));
}

ZmqSocket::~ZmqSocket() {
  if (watched_fd_ >= 0) loop_.unwatch(watched_fd_);
}

void ZmqSocket::set(int option, int value) { US_CHECK(zmq_setsockopt(socket_.handle(), option, &value, sizeof value) == 0); }

void ZmqSocket::set(int option, std::string_view value) {
  US_CHECK(zmq_setsockopt(socket_.handle(), option, value.data(), value.size()) == 0);
}

Result<void> ZmqSocket::secure_listener(const ServiceKeys& keys) {
  // libzmq 4.3.4 takes everybody while no doorkeeper listens: it does from here on, as long as the context lives.
  US_ASSIGN(auto* const doorkeeper, context_->doorkeeper());
  door_ = doorkeeper->open_door(keys.admitted);
  set(ZMQ_ZAP_DOMAIN, door_->domain());
  set(ZMQ_CURVE_SERVER, 1);
  set_key(ZMQ_CURVE_SECRETKEY, keys.own.bytes());
  return {};
}

void ZmqSocket::secure_connector(const LinkKeys& keys) {
  set_key(ZMQ_CURVE_SERVERKEY, keys.peer.bytes());
  set_key(ZMQ_CURVE_PUBLICKEY, keys.own.public_key().bytes());
  set_key(ZMQ_CURVE_SECRETKEY, keys.own.bytes());
}

void ZmqSocket::set_key(int option, const CurveKeyBytes& key) {
  set(option, std::string_view{reinterpret_cast<const char*>(key.data()), key.size()});
}

Result<void> ZmqSocket::bind(const std::string& endpoint) {
  if (zmq_bind(socket_.handle(), endpoint.c_str()) != 0) return zmq_error("bind " + endpoint);
  return {};
}

Result<void> ZmqSocket::connect(const std::string& endpoint) {
  if (zmq_connect(socket_.handle(), endpoint.c_str()) != 0) return zmq_error("connect to " + endpoint);
  connected_to_ = endpoint;
  return {};
}

void ZmqSocket::reconnect() {
  (void)zmq_disconnect(socket_.handle(), connected_to_.c_str());  // fails where ZeroMQ has forgotten it already
  US_CHECK(zmq_connect(socket_.handle(), connected_to_.c_str()) == 0);
  pump_soon();
}

std::string ZmqSocket::last_endpoint() { return socket_.get(zmq::sockopt::last_endpoint); }

Result<void> ZmqSocket::start(Handlers handlers) {
  US_CHECK(watched_fd_ < 0);
  handlers_ = std::move(handlers);
  const int fd = socket_.get(zmq::sockopt::fd);
  US_TRY(loop_.watch(fd, EPOLLIN, [this](std::uint32_t) { pump(); }));
  watched_fd_ = fd;
  pump_soon();  // what happened before the watch gives no signal any more
  return {};
}

ZmqSocket::Sent ZmqSocket::send(std::optional<std::string_view> to, std::span<const Frame> frames, std::size_t copy_below_bytes) {
  US_CHECK(!frames.empty());
  Sent sent = Sent::kQueued;
  if (to && retry([&] { return zmq_send(socket_.handle(), to->data(), to->size(), ZMQ_SNDMORE | ZMQ_DONTWAIT); }) < 0) {
    US_CHECK(errno == EAGAIN || errno == EHOSTUNREACH);
    sent = errno == EAGAIN ? Sent::kFull : Sent::kNoPeer;
  }
  for (std::size_t i = 0; i < frames.size() && sent == Sent::kQueued; ++i) {
    auto part = to_zmq(frames[i], copy_below_bytes);
    const int flags = ZMQ_DONTWAIT | (i + 1 < frames.size() ? ZMQ_SNDMORE : 0);
    if (retry([&] { return zmq_msg_send(part.handle(), socket_.handle(), flags); }) >= 0) continue;
    US_CHECK(errno == EAGAIN);
    // The queue is asked for room once a message. Later it only says that the connection broke: ZeroMQ then drops the whole message, but
    // wants to be given the rest of it first.
    if (i == 0 && !to) sent = Sent::kFull;
  }
  if (sent == Sent::kFull) full_ = true;
  // The send may have swallowed the signal of a message, or of room, that came meanwhile.
  const int ready = events();
  if ((ready & ZMQ_POLLIN) != 0) pump_soon();
  if (full_ && (ready & ZMQ_POLLOUT) != 0) look_again_later();
  return sent;
}

bool ZmqSocket::writable() {
  const int ready = events();
  if ((ready & ZMQ_POLLIN) != 0) pump_soon();
  return (ready & ZMQ_POLLOUT) != 0;
}

int ZmqSocket::events() {
  int ready = 0;
  std::size_t size = sizeof ready;
  US_CHECK(retry([&] { return zmq_getsockopt(socket_.handle(), ZMQ_EVENTS, &ready, &size); }) == 0);
  return ready;
}

std::optional<ZmqIncoming> ZmqSocket::receive() {
  for (;;) {
    ZmqIncoming incoming;
    bool oversized = false;
    for (bool more = true; more;) {
      const auto part = std::make_shared<zmq::message_t>();
      if (retry([&] { return zmq_msg_recv(part->handle(), socket_.handle(), ZMQ_DONTWAIT); }) < 0) {
        US_CHECK(errno == EAGAIN);
        return std::nullopt;  // only before the first part: messages arrive whole
      }
      more = part->more();
      incoming.connection_fd = zmq_msg_get(part->handle(), ZMQ_SRCFD);
      oversized = oversized || incoming.frames.size() >= limits_.max_frames || part->size() > limits_.max_frame_bytes;
      if (!oversized) incoming.frames.emplace_back(std::span{part->data<std::byte>(), part->size()}, part);
    }
    if (!oversized) return incoming;
    handlers_.oversized(incoming.connection_fd);
  }
}

void ZmqSocket::deliver_all() {
  while (auto incoming = receive()) handlers_.message(std::move(*incoming));
  if (full_) pump_soon();
}

void ZmqSocket::pump() {
  for (int i = 0; i < kMessagesPerTurn; ++i) {
    auto incoming = receive();
    if (!incoming) break;
    handlers_.message(std::move(*incoming));
  }
  int ready = events();
  if (full_ && (ready & ZMQ_POLLOUT) != 0) {
    full_ = false;
    handlers_.writable();
    ready = events();
  }
  if ((ready & ZMQ_POLLIN) != 0) pump_soon();
}

// "Writable" of a ROUTER may mean another of its connections than the one that is full: asking at once would spin.
void ZmqSocket::look_again_later() {
  if (look_scheduled_) return;
  look_scheduled_ = true;
  loop_.call_at(loop_.clock().now() + kLookAgain, [this, alive = std::weak_ptr{alive_}] {
    if (alive.expired()) return;
    look_scheduled_ = false;
    pump();
  });
}

void ZmqSocket::pump_soon() {
  if (pump_scheduled_) return;
  pump_scheduled_ = true;
  loop_.post([this, alive = std::weak_ptr{alive_}] {
    if (alive.expired()) return;
    pump_scheduled_ = false;
    pump();
  });
}

}  // namespace understudy
