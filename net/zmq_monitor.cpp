#include "net/zmq_monitor.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>

#include <sys/epoll.h>

#include "net/base/check.h"

namespace understudy {

namespace {
constexpr int kConnected = ZMQ_EVENT_CONNECTED | ZMQ_EVENT_ACCEPTED;
constexpr int kHandshakeFailures =
    ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;

HandshakeFailure why_failed(std::uint16_t event, std::int32_t value) {
  if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL) return HandshakeFailure::kClosed;
  if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) return HandshakeFailure::kNotAdmitted;
  if (value == ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC) return HandshakeFailure::kWrongKey;
  if (value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH) return HandshakeFailure::kNoSecurity;
  return HandshakeFailure::kProtocol;
}

// In-process names are the context's, and a process may have several sockets.
std::string next_endpoint() {
  static std::atomic<std::uint64_t> count{0};
  return "inproc://understudy-monitor-" + std::to_string(count.fetch_add(1, std::memory_order_relaxed));
}
}  // namespace

Result<std::unique_ptr<ZmqMonitor>> ZmqMonitor::create(EventLoop& loop, ZmqContext& context, ZmqSocket& socket, Handlers handlers) {
  const auto endpoint = next_endpoint();
  try {
    std::unique_ptr<ZmqMonitor> monitor{new ZmqMonitor{loop, context, socket, std::move(handlers)}};
    if (zmq_socket_monitor(socket.raw().handle(), endpoint.c_str(), kConnected | ZMQ_EVENT_DISCONNECTED | kHandshakeFailures) != 0)
      return Error{ErrorCode::kFailed, std::string{"monitor a ZeroMQ socket: "} + zmq_strerror(zmq_errno())};
    monitor->socket_.connect(endpoint);
    const int fd = monitor->socket_.get(zmq::sockopt::fd);
    US_TRY(loop.watch(fd, EPOLLIN, [m = monitor.get()](std::uint32_t) { m->drain(); }));
    monitor->watched_fd_ = fd;
    monitor->drain();  // ZeroMQ signals only to a reader that has found nothing once
    return monitor;
  } catch (const zmq::error_t& error) {
    return Error{ErrorCode::kFailed, std::string{"monitor a ZeroMQ socket: "} + error.what()};
  }
}

ZmqMonitor::ZmqMonitor(EventLoop& loop, ZmqContext& context, ZmqSocket& socket, Handlers handlers)
    : loop_{loop}, monitored_{socket}, socket_{context.get(), ZMQ_PAIR}, handlers_{std::move(handlers)} {
  const int none = 0;
  US_CHECK(zmq_setsockopt(socket_.handle(), ZMQ_LINGER, &none, sizeof none) == 0);
}

ZmqMonitor::~ZmqMonitor() {
  if (watched_fd_ >= 0) loop_.unwatch(watched_fd_);
  zmq_socket_monitor(monitored_.raw().handle(), nullptr, 0);
}

void ZmqMonitor::drain() {
  // Two parts: event number (16 bits) and value (32 bits), packed; then the address. See zmq_socket_monitor(3).
  for (;;) {
    zmq::message_t head;
    if (zmq_msg_recv(head.handle(), socket_.handle(), ZMQ_DONTWAIT) < 0) {
      US_CHECK(errno == EAGAIN || errno == EINTR);
      if (errno == EINTR) continue;
      return;  // this receive also took the socket's signal: nothing is left behind it
    }
    zmq::message_t address;
    US_CHECK(head.size() == 6 && head.more() && zmq_msg_recv(address.handle(), socket_.handle(), ZMQ_DONTWAIT) >= 0);
    std::uint16_t event = 0;
    std::int32_t value = 0;
    std::memcpy(&event, head.data(), sizeof event);
    std::memcpy(&value, head.data<std::byte>() + sizeof event, sizeof value);
    if ((event & kConnected) != 0) handlers_.connected(value);
    if (event == ZMQ_EVENT_DISCONNECTED) handlers_.disconnected(value);
    if ((event & kHandshakeFailures) != 0) handlers_.handshake_failed(address.to_string(), why_failed(event, value));
  }
}

}  // namespace understudy
