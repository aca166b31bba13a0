#include "failover/daemon/arbiter_command.h"

#include <future>
#include <thread>

#include <fmt/format.h>

#include "failover/daemon/arbiter_choice.h"
#include "failover/daemon/on_loop.h"
#include "failover/etcd_store.h"
#include "failover/witness_client.h"
#include "failover/witness_store.h"

namespace understudy {

namespace {

// A person waits longer than a node does.
constexpr Duration kPatience = std::chrono::seconds{5};

std::string text_of(const NodeIncarnation& who) {
  return fmt::format("node {} (incarnation {})", name_of(who.node), who.incarnation.raw());
}

std::string text_of(const ArbiterRecord& record) {
  std::string eligible;
  for (const auto& who : record.eligible) eligible += (eligible.empty() ? "" : ", ") + text_of(who);
  return fmt::format("term {}, {}; holder: {}; eligible: {}", record.term.raw(), record.mode == PairMode::kPair ? "pair" : "solo",
                     text_of(record.holder), eligible);
}

Result<std::unique_ptr<EtcdStore>> open_etcd(const DaemonConfig& config, const Clock& clock) {
  auto etcd = *config.etcd;
  etcd.timeout = std::max(etcd.timeout, kPatience);
  return EtcdStore::open(etcd, config.pair.id, clock);
}

Result<ArbiterAnswer> ask_witness(const DaemonConfig& config, const EtcdStore::Request& request, const Clock& clock) {
  US_ASSIGN(const auto thread, LoopThread::start(clock, "witness-client"));
  std::unique_ptr<WitnessClient> client;
  US_TRY(on_loop(thread->loop(), [&]() -> Result<void> {
    const WitnessClientConfig witness{.endpoint = config.witness,
                                      .keys = witness_keys(config.security),
                                      .pair = config.pair.id,
                                      .self = {config.pair.node, {}},
                                      .timeout = kPatience};
    US_ASSIGN(client, WitnessClient::create(thread->loop(), ZmqContext::create(), witness));
    return {};
  }));
  bool connected = false;
  for (const Instant give_up = clock.now() + kPatience; !connected && clock.now() < give_up;) {
    US_TRY(on_loop(thread->loop(), [&]() -> Result<void> {
      connected = client->connected();
      return {};
    }));
    if (!connected) std::this_thread::sleep_for(std::chrono::milliseconds{10});
  }
  std::promise<Result<ArbiterAnswer>> answer;
  US_TRY(on_loop(thread->loop(), [&]() -> Result<void> {
    const auto done = [&](Result<ArbiterAnswer> got) { answer.set_value(std::move(got)); };
    if (const auto* const seed = std::get_if<WitnessSeed>(&request))
      client->seed(seed->term, seed->holder, done);
    else
      client->read(done);
    return {};
  }));
  auto got = answer.get_future().get();  // once, within the client's timeout
  US_TRY(on_loop(thread->loop(), [&]() -> Result<void> {
    client.reset();
    return {};
  }));
  return got;
}

// Where the node is its own arbiter, and does not run now.
Result<ArbiterAnswer> ask_own_record(const DaemonConfig& config, const EtcdStore::Request& request) {
  auto store = WitnessStore::open(manual_store(config), WitnessStore::Open::kExisting);
  if (!store) return std::move(store.error()).within("this node's own record (its daemon must be stopped for that)");
  US_ASSIGN(const auto pair, (*store)->load(config.pair.id));
  const auto* const seed = std::get_if<WitnessSeed>(&request);
  if (seed == nullptr) return answer_read(pair, (*store)->identity());
  const WitnessDecision decision = decide_seed(pair, seed->term, seed->holder, (*store)->identity());
  if (decision.changed) US_TRY((*store)->save(config.pair.id, *decision.changed));
  return decision.answer;
}

Result<ArbiterAnswer> ask_arbiter(const DaemonConfig& config, const EtcdStore::Request& request, const Clock& clock) {
  if (config.manual) return ask_own_record(config, request);
  if (!config.etcd) return ask_witness(config, request, clock);
  US_ASSIGN(const auto store, open_etcd(config, clock));
  return store->serve(request, clock.now());
}

}  // namespace

Result<void> check_arbiter(const DaemonConfig& config) {
  const MonotonicClock clock;
  if (config.etcd) US_TRY(EtcdStore::open(*config.etcd, config.pair.id, clock));
  return {};
}

Result<std::string> set_up_arbiter(const DaemonConfig& config, EtcdSetUp how, const Clock& clock) {
  if (config.manual) return Error{ErrorCode::kInvalid, "a pair without a third place needs no set-up: each node keeps its own record"};
  if (!config.etcd) return Error{ErrorCode::kInvalid, "the witness is set up where it runs: understudyd witness --new, or --replacement"};
  US_ASSIGN(const auto store, open_etcd(config, clock));
  US_ASSIGN(const auto identity, store->set_up(how));
  return fmt::format("{} is the arbiter of prefix \"{}\", store {}{}", arbiter_name(config), config.etcd->prefix, identity.store.raw(),
                     identity.amnesiac ? "; seed each pair before it can be granted a term" : "");
}

Result<std::string> seed_arbiter(const DaemonConfig& config, Term term, NodeIncarnation holder, const Clock& clock) {
  US_ASSIGN(const auto answer, ask_arbiter(config, WitnessSeed{term, holder}, clock));
  if (!answer.granted) return Error{ErrorCode::kRefused, arbiter_name(config) + ": " + answer.reason};
  return fmt::format("pair {} is seeded: {}", config.pair.name, text_of(*answer.record));
}

Result<std::string> show_arbiter(const DaemonConfig& config, const Clock& clock) {
  US_ASSIGN(const auto answer, ask_arbiter(config, WitnessRead{}, clock));
  return fmt::format("{}, store {}: pair {}: {}", arbiter_name(config), answer.store.raw(), config.pair.name,
                     answer.record ? text_of(*answer.record) : "no record");
}

}  // namespace understudy
