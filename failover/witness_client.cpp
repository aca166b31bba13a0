#include "failover/witness_client.h"

#include <bit>
#include <random>
#include <unordered_map>
#include <utility>

#include "failover/witness_codec.h"
#include "net/base/log.h"
#include "net/zmq_door.h"
#include "net/zmq_socket.h"

namespace understudy {

class WitnessClient::Impl {
 public:
  Impl(EventLoop& loop, const WitnessClientConfig& config, std::unique_ptr<ZmqSocket> socket)
      : loop_{loop}, config_{config}, socket_{std::move(socket)}, last_call_{std::random_device{}()} {}
  ~Impl() {
    for (const auto& [call, waiting] : outstanding_) loop_.cancel(waiting.timer);
  }

  Result<void> open(ZmqContext& context) {
    socket_->set(ZMQ_PROBE_ROUTER, 1);  // the witness counts a connection that says nothing as a stranger's
    if (config_.keys) socket_->secure_connector(*config_.keys);
    US_ASSIGN(door_, ZmqDoor::create(loop_, context, *socket_, "witness link", false, {}));
    US_TRY(socket_->connect(config_.endpoint));
    return socket_->start({.message = [this](const ZmqIncoming& incoming) { on_incoming(incoming.frames); },
                           .oversized = [this](int) { on_malformed("too many or too large frames"); }});
  }

  void call(decltype(WitnessRequest::what) what, Callback done) {
    ++counters_.calls;
    if (outstanding_.size() >= config_.max_outstanding)
      return fail_soon(std::move(done), Error{ErrorCode::kBusy, "witness: " + std::to_string(outstanding_.size()) + " calls wait already"});
    const auto number = ++last_call_;
    const Envelope envelope{.kind = kWitnessRequestKind,
                            .pair = config_.pair,
                            .sender = config_.self.node,
                            .incarnation = config_.self.incarnation,
                            .term = {},
                            .session = {},
                            .epoch = {}};
    const auto message = encode(envelope, encode_witness_request({.call = number, .what = std::move(what)}));
    if (socket_->send(std::nullopt, message) != ZmqSocket::Sent::kQueued)
      return fail_soon(std::move(done),
                       Error{ErrorCode::kUnavailable, "witness at " + config_.endpoint + ": not connected" + why_refused()});
    const auto timer = loop_.call_at(loop_.clock().now() + config_.timeout, [this, number] { on_timeout(number); });
    outstanding_.emplace(number, Waiting{.done = std::move(done), .timer = timer});
  }

 private:
  friend class WitnessClient;
  struct Waiting {
    Callback done;
    EventLoop::TimerId timer;
  };

  // Never from within the call: callers need not expect their own callback in the middle of a step.
  void fail_soon(Callback done, Error error) {
    loop_.post([alive = std::weak_ptr{alive_}, done = std::move(done), error = std::move(error)] {
      if (!alive.expired()) done(error);
    });
  }

  std::string why_refused() const { return door_->refusals().count == 0 ? "" : "; refused: " + door_->refusals().last; }

  // Callbacks may call again: the call is forgotten before.
  void finish(std::unordered_map<std::uint64_t, Waiting>::iterator call, Result<ArbiterAnswer> answer) {
    auto waiting = std::move(call->second);
    outstanding_.erase(call);
    loop_.cancel(waiting.timer);
    waiting.done(std::move(answer));
  }

  void on_timeout(std::uint64_t call) {
    const auto found = outstanding_.find(call);
    if (found == outstanding_.end()) return;
    ++counters_.timeouts;
    finish(found, Error{ErrorCode::kTimeout, "witness at " + config_.endpoint + ": no answer within " +
                                                 std::to_string(static_cast<long>(to_ms(config_.timeout))) + " ms"});
  }

  void on_incoming(const Message& message) {
    const auto decoded = decode(message, config_.pair);
    if (!decoded) {
      on_malformed(decoded.error().text());
      if (decoded.error().code() == ErrorCode::kUnsupportedVersion) fail_all(decoded.error());
      return;
    }
    if (decoded->envelope.kind != kWitnessAnswerKind)
      return on_malformed("message of kind " + std::to_string(decoded->envelope.kind) + " from a witness");
    auto reply = decode_witness_reply(decoded->payload.bytes());
    if (!reply) return on_malformed(reply.error().text());
    const auto found = outstanding_.find(reply->call);
    if (found == outstanding_.end()) {
      ++counters_.late_answers;
      return;
    }
    if (!reply->answer) reply->answer = std::move(reply->answer.error()).within("witness at " + config_.endpoint);
    finish(found, std::move(reply->answer));
  }

  void fail_all(const Error& error) {
    auto calls = std::exchange(outstanding_, {});
    for (auto& [number, waiting] : calls) loop_.cancel(waiting.timer);
    for (auto& [number, waiting] : calls) waiting.done(error.within("witness at " + config_.endpoint));
  }

  void on_malformed(const std::string& what) {
    if (std::has_single_bit(++counters_.malformed))
      log(Severity::kWarning, "malformed message from the witness",
          {{"endpoint", config_.endpoint}, {"what", what}, {"count", counters_.malformed}});
  }

  EventLoop& loop_;
  const WitnessClientConfig config_;
  const std::unique_ptr<ZmqSocket> socket_;
  std::unique_ptr<ZmqDoor> door_;  // ends before the socket
  std::uint64_t last_call_;        // starts at random: an answer to a client before this one meets no call
  std::unordered_map<std::uint64_t, Waiting> outstanding_;
  WitnessClientCounters counters_;
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
};

Result<std::unique_ptr<WitnessClient>> WitnessClient::create(EventLoop& loop, std::shared_ptr<ZmqContext> context,
                                                             const WitnessClientConfig& config) {
  // One more than the calls, for the connection's first word.
  const ZmqLimits limits{.queue_messages = config.max_outstanding + 1, .max_frame_bytes = 16 << 10, .max_frames = 1};
  US_ASSIGN(auto socket, ZmqSocket::create(loop, context, ZMQ_DEALER, limits));
  auto impl = std::make_unique<Impl>(loop, config, std::move(socket));
  if (auto opened = impl->open(*context); !opened) return std::move(opened.error()).within("witness");
  return std::unique_ptr<WitnessClient>{new WitnessClient{std::move(impl)}};
}

WitnessClient::WitnessClient(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
WitnessClient::~WitnessClient() = default;
void WitnessClient::read(Callback done) { impl_->call(WitnessRead{}, std::move(done)); }
void WitnessClient::propose(const Proposal& proposal, Callback done) { impl_->call(proposal, std::move(done)); }
void WitnessClient::seed(Term term, NodeIncarnation holder, Callback done) { impl_->call(WitnessSeed{term, holder}, std::move(done)); }
bool WitnessClient::connected() const { return impl_->socket_->writable(); }
const WitnessClientCounters& WitnessClient::counters() const { return impl_->counters_; }
const Refusals& WitnessClient::refusals() const { return impl_->door_->refusals(); }

}  // namespace understudy
