#include "failover/manual_arbiter.h"

#include <algorithm>
#include <utility>

#include "failover/witness_store.h"
#include "net/base/log.h"

namespace understudy {

namespace {

// The lowest term from `least` on that is the proposer's: odd for node a, even for node b.
Term own_term(Term least, NodeId node) {
  const bool odd = (least.raw() & 1) != 0;
  return odd == (node == NodeId::kA) ? least : after(least);
}

}  // namespace

WitnessDecision decide_manually(const WitnessPair& pair, Proposal proposal, const WitnessIdentity& identity) {
  const Term now = pair.record ? pair.record->term : Term{};
  // A repetition is told by its request, not by its term.
  if (!pair.record || proposal.request != pair.record->request)
    proposal.at_least = own_term(std::max(after(now), proposal.at_least), proposal.proposer.node);
  return decide(pair, proposal, identity);
}

std::optional<WitnessPair> adopt(const WitnessPair& pair, const Heartbeat& heartbeat) {
  const bool holds = heartbeat.role == Role::kPrimary || heartbeat.role == Role::kSolo;
  if (!holds || (pair.record && heartbeat.term <= pair.record->term)) return std::nullopt;
  ArbiterRecord record{.term = heartbeat.term,
                       .mode = heartbeat.role == Role::kPrimary ? PairMode::kPair : PairMode::kSolo,
                       .holder = heartbeat.sender,
                       .eligible = {heartbeat.sender},
                       .request = {}};
  if (record.mode == PairMode::kPair) record.eligible.push_back({peer_of(heartbeat.sender.node), heartbeat.eligible_peer});
  if (!valid(record)) return std::nullopt;
  return WitnessPair{.record = std::move(record), .made_by = std::nullopt, .forgotten = pair.forgotten};
}

class ManualArbiter::Impl {
 public:
  Impl(EventLoop& loop, std::unique_ptr<WitnessStore> store, PairId pair) : loop_{loop}, store_{std::move(store)}, pair_{pair} {}

  Result<void> start() {
    US_ASSIGN(thread_, LoopThread::start(loop_.clock(), "manual-arbiter"));
    return {};
  }

  void answer(std::function<Result<ArbiterAnswer>(WitnessStore&, PairId)> serve, Callback done) {
    thread_->loop().post([this, serve = std::move(serve), alive = std::weak_ptr{alive_}, done = std::move(done)] {
      loop_.post([alive, done, answer = serve(*store_, pair_)]() mutable {
        if (!alive.expired()) done(std::move(answer));
      });
    });
  }

  void hear(const Heartbeat& heartbeat) {
    if (heartbeat.term <= heard_) return;
    if (heartbeat.role != Role::kPrimary && heartbeat.role != Role::kSolo) return;
    heard_ = heartbeat.term;
    thread_->loop().post([this, heartbeat] {
      const auto stored = store_->load(pair_);
      const auto changed = stored ? adopt(*stored, heartbeat) : std::nullopt;
      if (!changed) return;
      if (const auto saved = store_->save(pair_, *changed); !saved)
        log(Severity::kError, "the other node's term is not in this node's record", {{"reason", saved.error().text()}});
    });
  }

 private:
  EventLoop& loop_;
  const std::unique_ptr<WitnessStore> store_;  // the thread's
  const PairId pair_;
  Term heard_;
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
  std::unique_ptr<LoopThread> thread_;  // uses all of the above
};

Result<std::unique_ptr<ManualArbiter>> ManualArbiter::create(EventLoop& loop, std::unique_ptr<WitnessStore> store, PairId pair) {
  auto impl = std::make_unique<Impl>(loop, std::move(store), pair);
  US_TRY(impl->start());
  return std::unique_ptr<ManualArbiter>{new ManualArbiter{std::move(impl)}};
}

ManualArbiter::ManualArbiter(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
ManualArbiter::~ManualArbiter() = default;

void ManualArbiter::read(Callback done) {
  impl_->answer(
      [](WitnessStore& store, PairId pair) -> Result<ArbiterAnswer> {
        US_ASSIGN(const auto stored, store.load(pair));
        return answer_read(stored, store.identity());
      },
      std::move(done));
}

void ManualArbiter::propose(const Proposal& proposal, Callback done) {
  impl_->answer(
      [proposal](WitnessStore& store, PairId pair) -> Result<ArbiterAnswer> {
        US_ASSIGN(const auto stored, store.load(pair));
        const WitnessDecision decision = decide_manually(stored, proposal, store.identity());
        if (decision.changed) US_TRY(store.save(pair, *decision.changed));
        return decision.answer;
      },
      std::move(done));
}

void ManualArbiter::heard(const Heartbeat& heartbeat) { impl_->hear(heartbeat); }

}  // namespace understudy
