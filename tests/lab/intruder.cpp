#include "tests/lab/intruder.h"

#include <array>
#include <cstring>
#include <functional>
#include <poll.h>
#include <random>
#include <thread>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <zmq.hpp>

#include "net/base/unique_fd.h"
#include "tests/lab/netns.h"

namespace understudy::lab {

namespace {

constexpr int kPatienceMs = 3000;
constexpr int kRecordedForMs = 700;

// ZMTP 3.1's greeting with the mechanism CURVE: https://rfc.zeromq.org/spec/37/.
std::string greeting() { return std::string{"\xff\0\0\0\0\0\0\0\1\x7f\3\1CURVE", 17} + std::string(47, '\0'); }

Result<void> inside(const std::string& machine, const std::function<Result<void>()>& deed) {
  Result<void> outcome;
  std::thread{[&] {
    outcome = enter_namespace(machine);
    if (outcome) outcome = deed();
  }}.join();
  return outcome;
}

Result<UniqueFd> connect_to(const std::string& endpoint) {
  const auto colon = endpoint.rfind(':');
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(endpoint.substr(colon + 1))));
  if (::inet_pton(AF_INET, endpoint.substr(6, colon - 6).c_str(), &address.sin_addr) != 1)
    return Error{ErrorCode::kInvalid, endpoint + ": expected tcp:// and an IPv4 address"};
  UniqueFd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
    return Error::from_errno("connect to " + endpoint);
  return socket;
}

// Sends it all, and takes what comes until the other end closes.
Result<void> shout(const std::string& endpoint, const std::string& bytes) {
  US_ASSIGN(const auto socket, connect_to(endpoint));
  const timeval patience{.tv_sec = kPatienceMs / 1000, .tv_usec = 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  static_cast<void>(::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));  // what is cut off in the middle is an answer, too
  std::array<char, 4096> taken{};
  while (::recv(socket.get(), taken.data(), taken.size(), 0) > 0) {
  }
  return {};
}

zmq::socket_t knocking_socket(zmq::context_t& context, const std::string& name, const CurvePublicKey& at, const CurveSecretKey* key) {
  zmq::socket_t socket{context, zmq::socket_type::router};
  socket.set(zmq::sockopt::linger, 0);
  socket.set(zmq::sockopt::routing_id, name);
  socket.set(zmq::sockopt::probe_router, true);
  if (key == nullptr) return socket;
  const auto set = [&](int option, const CurveKeyBytes& bytes) { zmq_setsockopt(socket.handle(), option, bytes.data(), bytes.size()); };
  set(ZMQ_CURVE_SERVERKEY, at.bytes());
  set(ZMQ_CURVE_PUBLICKEY, key->public_key().bytes());
  set(ZMQ_CURVE_SECRETKEY, key->bytes());
  return socket;
}

Result<void> knock(const Port& port, const CurveSecretKey* key) {
  zmq::context_t context;
  auto socket = knocking_socket(context, "intruder", port.key, key);
  socket.connect(port.endpoint);
  std::this_thread::sleep_for(std::chrono::milliseconds{kRecordedForMs});
  return {};
}

// Both ways between a client and the port, as long as something comes; what the client sent.
std::string pass_on(int client, int port) {
  std::string sent;
  std::array<pollfd, 2> ends{{{client, POLLIN, 0}, {port, POLLIN, 0}}};
  while (::poll(ends.data(), ends.size(), kRecordedForMs) > 0) {
    for (std::size_t i = 0; i < 2; ++i) {
      if (ends[i].revents == 0) continue;
      std::array<char, 4096> bytes{};
      const auto got = ::recv(ends[i].fd, bytes.data(), bytes.size(), 0);
      if (got <= 0) return sent;
      if (i == 0) sent.append(bytes.data(), static_cast<std::size_t>(got));
      if (::send(ends[1 - i].fd, bytes.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL) < 0) return sent;
    }
  }
  return sent;
}

// A connection with a key that is admitted, made through a proxy that writes down what it sends. It comes under a name of its own, so that
// it takes nothing from the rightful peer.
Result<std::string> record(const Port& port, const CurveSecretKey& rightful) {
  UniqueFd listening{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), size) < 0 || ::listen(listening.get(), 1) < 0 ||
      ::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&address), &size) < 0)
    return Error::from_errno("listen for the stream to record");
  US_ASSIGN(const auto to_port, connect_to(port.endpoint));
  zmq::context_t context;
  auto socket = knocking_socket(context, "recorded", port.key, &rightful);
  socket.connect("tcp://127.0.0.1:" + std::to_string(ntohs(address.sin_port)));
  pollfd ready{.fd = listening.get(), .events = POLLIN, .revents = 0};
  if (::poll(&ready, 1, kPatienceMs) <= 0) return Error{ErrorCode::kTimeout, "nobody came to be recorded"};
  const UniqueFd client{::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC)};
  return pass_on(client.get(), to_port.get());
}

Result<void> replay(const Port& port, const CurveSecretKey& rightful) {
  US_ASSIGN(const auto stream, record(port, rightful));
  // The greeting, HELLO, INITIATE with its vouch, and a first message.
  if (stream.size() < 500)
    return Error{ErrorCode::kFailed, "the recorded stream has " + std::to_string(stream.size()) + " bytes: no handshake"};
  return shout(port.endpoint, stream);
}

std::string random_bytes() {
  std::mt19937 random{7};
  std::string bytes(64 << 10, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

}  // namespace

std::vector<Attempt> all_attempts() {
  return {Attempt::kWrongKey, Attempt::kNoKey, Attempt::kRandom, Attempt::kOversized, Attempt::kReplay};
}

const char* name_of(Attempt attempt) {
  static constexpr std::array kNames{"the wrong key", "no key", "random bytes", "an oversized frame", "a replayed stream"};
  return kNames[static_cast<std::size_t>(attempt)];
}

Result<void> try_at(const Port& port, Attempt attempt, const CurveSecretKey& rightful) {
  return inside(port.machine, [&]() -> Result<void> {
    const auto own = CurveSecretKey::generate();
    switch (attempt) {
      case Attempt::kWrongKey:
        return knock(port, &own);
      case Attempt::kNoKey:
        return knock(port, nullptr);
      case Attempt::kRandom:
        return shout(port.endpoint, random_bytes());
      case Attempt::kOversized:
        // Flags: a command, with a length of eight bytes.
        return shout(port.endpoint, greeting() + std::string{"\6\x40\0\0\0\0\0\0\0", 9} + std::string(4096, 'x'));
      case Attempt::kReplay:
        return replay(port, rightful);
    }
    return {};
  });
}

}  // namespace understudy::lab
