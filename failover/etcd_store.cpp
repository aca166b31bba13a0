#include "failover/etcd_store.h"

#include <algorithm>
#include <random>

#include "failover/etcd_http.h"
#include "net/base/check.h"
#include "net/base/log.h"

namespace understudy {

namespace {

constexpr const char* kTxnPath = "/v3/kv/txn";
// How often a record may change under a decision before the call gives up; the other node asks a few times a second.
constexpr int kMaxRounds = 16;

Error not_set_up(const std::string& marker) {
  return Error{ErrorCode::kRefused,
               "this cluster was never set up as an arbiter (there is no key " + marker +
                   "): see `understudyd arbiter init --help`; as a new one only if no arbiter ever served these pairs"};
}
Error from_a_backup() {
  return Error{ErrorCode::kRefused,
               "this cluster was restored from another's backup, and may have forgotten terms: `understudyd arbiter init --restored`, and "
               "seed the pair"};
}

StoreId new_store_id() {
  std::random_device random;
  std::uniform_int_distribution<std::uint64_t> any{1};
  return StoreId{any(random)};
}

WitnessDecision decide_request(const EtcdStore::Request& request, const WitnessPair& pair, const WitnessIdentity& identity) {
  if (const auto* const proposal = std::get_if<Proposal>(&request)) return decide(pair, *proposal, identity);
  if (const auto* const seed = std::get_if<WitnessSeed>(&request)) return decide_seed(pair, seed->term, seed->holder, identity);
  return {.answer = answer_read(pair, identity), .changed = {}};
}

}  // namespace

// What a cluster says of itself and of the pair.
struct EtcdStore::State {
  WitnessIdentity identity;
  EtcdPair pair;
  std::vector<std::int64_t> revisions;
  bool suspect = false;  // the record is another store's: it may be older than the last grant
};

EtcdKeys::EtcdKeys(std::string_view prefix, PairId id)
    : marker{"/understudy/" + std::string{prefix} + "/arbiter"},
      pair{"/understudy/" + std::string{prefix} + '/' + std::to_string(id.raw())} {}

Result<std::unique_ptr<EtcdStore>> EtcdStore::open(const EtcdConfig& config, PairId pair, const Clock& clock) {
  Members members;
  for (const auto& endpoint : config.endpoints) {
    auto member = EtcdHttp::create(endpoint, config.tls);
    if (!member) return std::move(member.error()).within("etcd");
    members.push_back(std::move(*member));
  }
  return std::make_unique<EtcdStore>(std::move(members), config, pair, clock);
}

EtcdStore::EtcdStore(Members members, const EtcdConfig& config, PairId pair, const Clock& clock)
    : members_{std::move(members)}, keys_{config.prefix, pair}, timeout_{config.timeout}, clock_{clock} {
  US_CHECK(!members_.empty());
}

Duration EtcdStore::patience() const { return timeout_ * static_cast<Duration::rep>(members_.size()); }

void EtcdStore::cut() {
  for (const auto& member : members_) member->cut();
}

// A refusal is the cluster's word, and no other member's would be another.
template <class Attempt>
auto EtcdStore::over_members(Attempt attempt) -> std::invoke_result_t<Attempt, EtcdConnection&, Instant> {
  std::string failures;
  ErrorCode code = ErrorCode::kTimeout;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const std::size_t index = (preferred_ + i) % members_.size();
    auto& member = *members_[index];
    auto outcome = attempt(member, clock_.now() + timeout_);
    if (outcome || outcome.error().code() == ErrorCode::kRefused) {
      preferred_ = index;
      if (outcome) return outcome;
      return std::move(outcome.error()).within("etcd at " + member.endpoint());
    }
    code = outcome.error().code();
    failures += (failures.empty() ? "" : "; ") + std::move(outcome.error()).within(member.endpoint()).text();
  }
  return Error{code, "etcd: " + failures};
}

Result<EtcdTxnAnswer> EtcdStore::exchange(EtcdConnection& member, const EtcdTxn& txn, Instant deadline) {
  const Duration budget = deadline - clock_.now();
  if (budget <= Duration{}) return Error{ErrorCode::kTimeout, "no time left for another request"};
  US_ASSIGN(const auto body, member.post(kTxnPath, encode_etcd_txn(txn), budget));
  US_ASSIGN(auto answer, decode_etcd_txn(txn, body));
  // Linearizable answers never go back. A backup restored under the same token and addresses has the same cluster id, and is seen by this.
  rolled_back_ = answer.cluster == cluster_ && (rolled_back_ || answer.revision < revision_);
  cluster_ = answer.cluster;
  revision_ = answer.revision;
  return answer;
}

Result<EtcdStore::State> EtcdStore::understand(const EtcdTxnAnswer& answer) const {
  const auto& marker = answer.values[0];
  const auto& stored = answer.values[1];
  if (marker.mod_revision == 0) return not_set_up(keys_.marker);
  State state{.identity = {}, .pair = {}, .revisions = {marker.mod_revision, stored.mod_revision}};
  auto identity = decode_etcd_identity(keys_.marker, marker.bytes);
  if (!identity) return std::move(identity.error()).within("value of " + keys_.marker);
  state.identity = identity->witness;
  if (identity->cluster != answer.cluster) return from_a_backup();
  if (stored.mod_revision == 0) return state;
  auto pair = decode_etcd_pair(keys_.pair, stored.bytes);
  if (!pair) return std::move(pair.error()).within("value of " + keys_.pair);
  state.pair = std::move(*pair);
  state.suspect = state.pair.store != state.identity.store;
  // What came after the backup is not known: at least one grant, say.
  if (auto& known = state.pair.pair; state.suspect && known.record) known.forgotten = std::max(known.forgotten, after(known.record->term));
  return state;
}

// A call has all its time from when its turn comes: what is left of it after the wait would be too short for each in a row, if etcd is
// slow.
Result<ArbiterAnswer> EtcdStore::serve(const Request& request, Instant called) {
  if (clock_.now() - called > patience()) return Error{ErrorCode::kTimeout, "etcd: the calls before this one took its time"};
  return over_members([&](EtcdConnection& member, Instant until) { return serve_by(member, request, until); });
}

Result<ArbiterAnswer> EtcdStore::serve_by(EtcdConnection& member, const Request& request, Instant deadline) {
  const EtcdTxn read{.keys = {keys_.marker, keys_.pair}, .unchanged = {}, .put = {}};
  US_ASSIGN(auto answer, exchange(member, read, deadline));
  for (int round = 0; round < kMaxRounds; ++round) {
    const auto cluster = answer.cluster;
    US_ASSIGN(auto state, understand(answer));
    auto& pair = state.pair.pair;
    const auto commit = [&](const WitnessPair& changed) {
      EtcdTxn write = read;
      write.unchanged = state.revisions;
      write.put = EtcdPut{.key = keys_.pair, .value = encode_etcd_pair(keys_.pair, {state.identity.store, changed})};
      return exchange(member, write, deadline);
    };
    if (rolled_back_) {
      pair.forgotten = std::max(pair.forgotten, after(pair.record ? pair.record->term : Term{}));
      US_ASSIGN(answer, commit(pair));
      if (!answer.written) continue;
      if (answer.cluster != cluster) return from_a_backup();
      rolled_back_ = false;
      log(Severity::kError, "etcd was rolled back: the pair must be seeded", {{"endpoint", member.endpoint()}});
      US_ASSIGN(answer, exchange(member, read, deadline));
      continue;
    }
    if (state.suspect && !std::holds_alternative<WitnessSeed>(request))
      return Error{ErrorCode::kRefused, "the pair's record comes from a backup: seed it above both nodes' terms"};
    auto decision = decide_request(request, pair, state.identity);
    if (!decision.changed) return std::move(decision.answer);
    US_ASSIGN(answer, commit(*decision.changed));
    if (!answer.written) continue;  // somebody was faster: his record is decided upon
    // The same address may have become another cluster's, or a backup's, since it was read: what was written there counts for nothing.
    if (answer.cluster != cluster || rolled_back_) return from_a_backup();
    if (!decision.answer.granted) log(Severity::kError, "the arbiter has forgotten terms", {{"reason", decision.answer.reason}});
    return std::move(decision.answer);
  }
  return Error{ErrorCode::kBusy, "the record changed under each of " + std::to_string(kMaxRounds) + " decisions"};
}

Result<void> EtcdStore::check_one_cluster() {
  const EtcdTxn txn{.keys = {keys_.marker}, .unchanged = {}, .put = {}};
  std::optional<std::uint64_t> cluster;
  for (const auto& member : members_) {
    const auto answer = exchange(*member, txn, clock_.now() + timeout_);
    if (!answer) continue;  // not there now, and compared when it is set up in its turn
    if (cluster && *cluster != answer->cluster)
      return Error{ErrorCode::kRefused,
                   "etcd at " + member->endpoint() + ": belongs to another cluster than the endpoints before it: each would grant terms"};
    cluster = answer->cluster;
  }
  return {};
}

Result<WitnessIdentity> EtcdStore::set_up(EtcdSetUp how) {
  US_TRY(check_one_cluster());
  return over_members([&](EtcdConnection& member, Instant until) { return set_up_by(member, how, until); });
}

Result<WitnessIdentity> EtcdStore::set_up_by(EtcdConnection& member, EtcdSetUp how, Instant deadline) {
  EtcdTxn txn{.keys = {keys_.marker}, .unchanged = {}, .put = {}};
  US_ASSIGN(auto answer, exchange(member, txn, deadline));
  for (int round = 0; round < kMaxRounds; ++round) {
    const auto& marker = answer.values[0];
    const auto cluster = answer.cluster;
    if (marker.mod_revision != 0 && how != EtcdSetUp::kRestored) {
      auto found = decode_etcd_identity(keys_.marker, marker.bytes);
      if (!found) return std::move(found.error()).within("value of " + keys_.marker);
      if (found->cluster != cluster) return from_a_backup();
      if (how == EtcdSetUp::kReplacement && !found->witness.amnesiac)
        return Error{ErrorCode::kRefused, "it is whole: a replacement is for a cluster that lost its content"};
      return found->witness;
    }
    const WitnessIdentity identity{.store = new_store_id(), .amnesiac = how != EtcdSetUp::kNew};
    txn.unchanged = {marker.mod_revision};
    txn.put = EtcdPut{.key = keys_.marker, .value = encode_etcd_identity(keys_.marker, {cluster, identity})};
    US_ASSIGN(answer, exchange(member, txn, deadline));
    if (answer.written && answer.cluster == cluster) return identity;
    if (answer.written) return Error{ErrorCode::kUnavailable, "the cluster was exchanged meanwhile"};
  }
  return Error{ErrorCode::kBusy, "somebody else is setting it up"};
}

}  // namespace understudy
