#include "failover/witness_server.h"

#include <bit>
#include <string>
#include <type_traits>
#include <utility>

#include "failover/witness_codec.h"
#include "net/base/log.h"
#include "net/zmq_door.h"
#include "net/zmq_socket.h"

namespace understudy {

namespace {
// Requests and answers are small; so is what waits of them.
constexpr ZmqLimits kLimits{.queue_messages = 256, .max_frame_bytes = 16 << 10, .max_frames = 2};  // the sender's name, the envelope
}  // namespace

class WitnessServer::Impl {
 public:
  Impl(WitnessStore& store, std::unique_ptr<ZmqSocket> socket) : store_{store}, socket_{std::move(socket)} {}

  Result<void> open(EventLoop& loop, ZmqContext& context, const std::string& endpoint, const std::optional<ServiceKeys>& keys) {
    if (keys) US_TRY(socket_->secure_listener(*keys));
    US_ASSIGN(door_, ZmqDoor::create(loop, context, *socket_, "witness", true, {}));
    US_TRY(socket_->bind(endpoint));
    endpoint_ = socket_->last_endpoint();
    return socket_->start({.message = [this](const ZmqIncoming& incoming) { on_incoming(incoming); },
                           .oversized =
                               [this](int fd) {
                                 door_->heard(fd);
                                 on_malformed("too many or too large frames");
                               }});
  }

 private:
  friend class WitnessServer;

  void on_incoming(const ZmqIncoming& incoming) {
    door_->heard(incoming.connection_fd);
    if (incoming.frames.size() == 2 && incoming.frames[1].bytes().empty()) return;  // a new connection's first word
    const auto name = incoming.frames.front().bytes();
    const std::string_view client{reinterpret_cast<const char*>(name.data()), name.size()};
    const auto decoded = decode_any_pair({incoming.frames.begin() + 1, incoming.frames.end()});
    if (!decoded) {
      on_malformed(decoded.error().text());
      // A node of another release cannot read this either, but its decoder will name both versions to the operator.
      if (decoded.error().code() == ErrorCode::kUnsupportedVersion) reply(client, Envelope{}, {.call = 0, .answer = decoded.error()});
      return;
    }
    if (decoded->envelope.kind != kWitnessRequestKind)
      return on_malformed("message of kind " + std::to_string(decoded->envelope.kind) + " sent to a witness");
    const auto request = decode_witness_request(decoded->payload.bytes());
    if (!request) {
      on_malformed(request.error().text());
      return reply(client, decoded->envelope, {.call = 0, .answer = request.error()});
    }
    reply(client, decoded->envelope, {.call = request->call, .answer = serve(decoded->envelope, *request)});
  }

  Result<ArbiterAnswer> serve(const Envelope& envelope, const WitnessRequest& request) {
    auto answer = decide_and_save(envelope, request);
    if (!answer) {
      if (std::has_single_bit(++counters_.store_failures))
        log(Severity::kError, "witness: request not answered",
            {{"pair", envelope.pair}, {"error", answer.error().text()}, {"count", counters_.store_failures}});
    }
    return answer;
  }

  // A change is on stable storage before its answer is returned.
  Result<ArbiterAnswer> decide_and_save(const Envelope& envelope, const WitnessRequest& request) {
    US_ASSIGN(const auto pair, store_.load(envelope.pair));
    if (std::holds_alternative<WitnessRead>(request.what)) {
      ++counters_.reads;
      return answer_read(pair, store_.identity());
    }
    WitnessDecision decision;
    const char* operation = "propose";
    if (const auto* proposal = std::get_if<Proposal>(&request.what)) {
      if (proposal->proposer.node != envelope.sender) {
        on_malformed("a proposal in another node's name");
        return Error{ErrorCode::kRefused, "a proposal in another node's name"};
      }
      decision = decide(pair, *proposal, store_.identity());
    } else {
      const auto& seed = std::get<WitnessSeed>(request.what);
      operation = "seed";
      ++counters_.seeds;
      decision = decide_seed(pair, seed.term, seed.holder, store_.identity());
    }
    if (decision.changed) US_TRY(store_.save(envelope.pair, *decision.changed));
    ++(decision.answer.granted ? counters_.grants : counters_.refusals);
    tell(envelope, operation, decision);
    return std::move(decision.answer);
  }

  // A change is news, a repeated refusal is not.
  void tell(const Envelope& envelope, const char* operation, const WitnessDecision& decision) const {
    const auto& answer = decision.answer;
    const auto severity = !decision.changed ? Severity::kDebug : answer.granted ? Severity::kInfo : Severity::kError;
    log(severity, answer.granted ? "witness: granted" : "witness: refused",
        {{"pair", envelope.pair},
         {"node", name_of(envelope.sender)},
         {"operation", operation},
         {"term", answer.record ? answer.record->term : Term{}},
         {"mode", answer.record && answer.record->mode == PairMode::kPair ? "pair" : "solo"},
         {"reason", answer.reason}});
  }

  // Whoever does not take his answers loses them: he asks again.
  void reply(std::string_view client, const Envelope& asked, const WitnessReply& reply) {
    const Envelope envelope{.kind = kWitnessAnswerKind,
                            .pair = asked.pair,
                            .sender = asked.sender,  // a witness is no node: the asker's name comes back
                            .incarnation = asked.incarnation,
                            .term = {},
                            .session = {},
                            .epoch = {}};
    (void)socket_->send(client, encode(envelope, encode_witness_reply(reply)));
  }

  void on_malformed(const std::string& what) {
    if (std::has_single_bit(++counters_.malformed))
      log(Severity::kWarning, "witness: malformed message", {{"what", what}, {"count", counters_.malformed}});
  }

  WitnessStore& store_;
  const std::unique_ptr<ZmqSocket> socket_;
  std::unique_ptr<ZmqDoor> door_;  // ends before the socket
  std::string endpoint_;
  WitnessCounters counters_;
};

Result<std::unique_ptr<WitnessServer>> WitnessServer::create(EventLoop& loop, std::shared_ptr<ZmqContext> context, WitnessStore& store,
                                                             const std::string& endpoint, const std::optional<ServiceKeys>& keys) {
  US_ASSIGN(auto socket, ZmqSocket::create(loop, context, ZMQ_ROUTER, kLimits));
  auto impl = std::make_unique<Impl>(store, std::move(socket));
  if (auto opened = impl->open(loop, *context, endpoint, keys); !opened) return std::move(opened.error()).within("witness");
  return std::unique_ptr<WitnessServer>{new WitnessServer{std::move(impl)}};
}

WitnessServer::WitnessServer(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
WitnessServer::~WitnessServer() = default;
const std::string& WitnessServer::endpoint() const { return impl_->endpoint_; }
const WitnessCounters& WitnessServer::counters() const { return impl_->counters_; }
const Refusals& WitnessServer::refusals() const { return impl_->door_->refusals(); }

}  // namespace understudy
