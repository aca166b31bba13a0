#include "failover/pair_command.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <poll.h>
#include <unistd.h>

#include <zmq.hpp>

#include "failover/pair_exchange.h"
#include "net/zmq_context.h"

namespace understudy {

namespace {

constexpr int kLingerMs = 2000;  // for the last message

// A PAIR socket takes one connection at a time.
class PairSocket {
 public:
  PairSocket(Instant give_up, const Clock& clock) : give_up_{give_up}, clock_{clock}, socket_{context_->get(), zmq::socket_type::pair} {
    socket_.set(zmq::sockopt::linger, kLingerMs);
    socket_.set(zmq::sockopt::immediate, true);
    socket_.set(zmq::sockopt::maxmsgsize, std::int64_t{kMaxPairMessageBytes});
    socket_.set(zmq::sockopt::rcvhwm, 2);
  }
  zmq::socket_t& raw() { return socket_; }

  Result<void> send(const std::vector<std::byte>& message) {
    socket_.set(zmq::sockopt::sndtimeo, left_ms());
    if (!socket_.send(zmq::buffer(message.data(), message.size()))) return late();
    return {};
  }
  Result<std::vector<std::byte>> receive() {
    socket_.set(zmq::sockopt::rcvtimeo, left_ms());
    zmq::message_t message;
    if (!socket_.recv(message)) return late();
    if (message.more()) return Error{ErrorCode::kCorrupt, "a message of several parts, which none of `understudy pair` is"};
    const auto* const begin = message.data<std::byte>();
    return std::vector<std::byte>{begin, begin + message.size()};
  }

 private:
  int left_ms() const { return std::max(1, static_cast<int>(to_ms(give_up_ - clock_.now()))); }
  static Error late() {
    return {ErrorCode::kTimeout, "the other host did not answer in time: is `understudy pair` running there, and the address right?"};
  }

  const Instant give_up_;
  const Clock& clock_;
  const std::shared_ptr<ZmqContext> context_ = ZmqContext::create();
  zmq::socket_t socket_;
};

Result<void> open(PairSocket& socket, const PairOptions& options) {
  const bool listens = !options.listen.empty();
  const std::string& endpoint = listens ? options.listen : options.connect;
  const int result = listens ? zmq_bind(socket.raw().handle(), endpoint.c_str()) : zmq_connect(socket.raw().handle(), endpoint.c_str());
  if (result != 0)
    return Error{ErrorCode::kInvalid, (listens ? "listen at " : "connect to ") + endpoint + ": " + zmq_strerror(zmq_errno()) +
                                          "; expected an endpoint like tcp://10.77.1.1:7009"};
  if (listens) options.listening(socket.raw().get(zmq::sockopt::last_endpoint));
  return {};
}

Result<void> talk(PairSocket& socket, PairExchange& exchange, bool begins) {
  if (begins) US_TRY(socket.send(exchange.begin()));
  while (!exchange.done()) {
    US_ASSIGN(const auto message, socket.receive());
    US_ASSIGN(const auto answer, exchange.receive(message));
    if (!answer.empty()) US_TRY(socket.send(answer));
  }
  return {};
}

}  // namespace

Result<CurvePublicKey> make_key_file(const std::filesystem::path& path) {
  const auto key = CurveSecretKey::generate();
  US_TRY(save_secret_key(path, key));
  return key.public_key();
}

Result<CurvePublicKey> exchange_keys(const PairOptions& options, const SameCode& same_code, const Clock& clock) {
  if (options.listen.empty() == options.connect.empty())
    return Error{ErrorCode::kInvalid, "pair: expected --listen on one host, and --connect with its address on the other"};
  US_ASSIGN(const auto own, load_secret_key(options.key_file));
  const Instant give_up = clock.now() + options.timeout;
  const bool begins = options.listen.empty();
  PairExchange exchange{begins ? PairExchange::Side::kConnects : PairExchange::Side::kListens, own.public_key(),
                        PairExchange::random_nonce()};
  try {
    PairSocket socket{give_up, clock};
    US_TRY(open(socket, options));
    if (auto talked = talk(socket, exchange, begins); !talked) return std::move(talked.error()).within("pair");
  } catch (const zmq::error_t& error) {
    return Error{ErrorCode::kFailed, std::string{"pair: "} + error.what()};
  }
  US_ASSIGN(const bool same, same_code(exchange.code(), give_up));
  if (!same)
    return Error{ErrorCode::kRefused,
                 "pair: the codes differ: somebody stands between the hosts, or two other hosts pair at the same time; "
                 "the other host's key is not to be used"};
  return exchange.peer();
}

Result<bool> ask_for_same_code(int fd, const std::string& code, Instant give_up, const Clock& clock) {
  std::fprintf(stderr, "\n    %s\n\nDoes the other host show the same code? (yes/no) ", code.c_str());
  std::fflush(stderr);
  std::string answer;
  while (true) {
    const auto left_ms = static_cast<int>(to_ms(give_up - clock.now()));
    pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
    const int found = left_ms <= 0 ? 0 : ::poll(&ready, 1, left_ms);
    if (found < 0 && errno == EINTR) continue;
    if (found <= 0) return Error{ErrorCode::kTimeout, "pair: nobody compared the codes in time"};
    char byte = 0;
    const auto got = ::read(fd, &byte, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Error{ErrorCode::kRefused, "pair: no answer: the comparison wants a person, at both hosts"};
    if (byte != '\n') {
      if (answer.size() < 16) answer += byte;
      continue;
    }
    if (answer == "yes" || answer == "no") return answer == "yes";
    answer.clear();
    std::fprintf(stderr, "yes or no: ");
    std::fflush(stderr);
  }
}

}  // namespace understudy
