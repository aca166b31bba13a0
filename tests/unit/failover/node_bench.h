// A node on a bench: facts go in, actions are looked up by kind, the peer and the arbiter say what the test wants.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "failover/node.h"

namespace understudy {

inline constexpr Incarnation kOurs{101};
inline constexpr Incarnation kTheirs{202};

class NodeBench {
 public:
  // `more`: paths that are probed besides service NIC and storage.
  explicit NodeBench(NodeId id = NodeId::kA, NodeConfig config = {}, std::vector<ProbePath> more = {})
      : id_{id}, node_{prepare(id, std::move(config), more)} {}

  NodeIncarnation self() const { return {id_, kOurs}; }
  NodeIncarnation peer() const { return {peer_of(id_), peer_incarnation}; }
  NodeStatus status() const { return node_.status(); }
  Instant now() const { return now_; }

  const std::vector<Action>& feed(const Input& input) {
    actions = node_.step(now_, input);
    all.insert(all.end(), actions.begin(), actions.end());
    for (const Action& action : actions) {
      if (const auto* read = std::get_if<action::ReadArbiter>(&action)) ask = read->ask;
      if (const auto* propose = std::get_if<action::Propose>(&action)) {
        ask = propose->ask;
        proposal = propose->proposal;
      }
      if (const auto* gate = std::get_if<action::SetGate>(&action)) gate_order = gate->order;
      if (const auto* beat = std::get_if<action::SendHeartbeat>(&action)) sent = beat->heartbeat;
    }
    return actions;
  }
  // Ticks of 10 ms; the peer says `saying` every 50 ms if it speaks, and healthy probes report every 50 ms if `probing`.
  void run(int ms) {
    for (int done = 0; done < ms; done += 10) {
      now_ += std::chrono::milliseconds{10};
      if (++turn_ % 5 == 0) {
        if (speaking) hear();
        if (probing) probe_all(Health::kHealthy);
      }
      feed(input::Tick{});
    }
  }
  void jump(int ms) { now_ += std::chrono::milliseconds{ms}; }

  void start(Term term = {}, Term promise = {}) { feed(input::Started{self(), term, promise, {}}); }
  // A heartbeat of the peer, fresh.
  void hear() {
    Heartbeat beat = saying;
    beat.sender = peer();
    beat.sequence = ++peer_sequence_;
    beat.echo_incarnation = kOurs;
    beat.echo_sequence = sent.sequence;
    feed(input::HeartbeatReceived{beat});
  }
  void probe(ProbePath path, Health health, Instant started) { feed(input::Probed{{path, health, started, now_, ""}}); }
  void probe_all(Health health) {
    probe(ProbePath::kServiceNic, health, now_);
    probe(ProbePath::kStorage, health, now_);
  }

  // The arbiter answers the latest question.
  void answer(std::optional<ArbiterRecord> as_record, bool granted = false, std::string reason = "") {
    feed(input::ArbiterAnswered{ask, {granted, std::move(as_record), StoreId{1}, std::move(reason)}});
  }
  static ArbiterRecord record(Term term, NodeIncarnation holder, std::vector<NodeIncarnation> eligible, RequestId request = RequestId{1}) {
    return {term, eligible.size() > 1 ? PairMode::kPair : PairMode::kSolo, holder, std::move(eligible), request};
  }
  // ... and grants the latest proposal.
  void grant(Term term, std::vector<NodeIncarnation> eligible) {
    answer(record(term, self(), std::move(eligible), proposal.request), true);
  }
  void persist(Term term) { feed(input::TermPersisted{term}); }

  // Situations.
  void become_solo() {
    saying = {};
    start();
    hear();
    answer(std::nullopt);
    grant(Term{1}, {self()});
    persist(Term{1});
    feed(input::GuestRunning{Term{1}});
    saying.role = Role::kSecondary;
    run(150);
  }
  void session_up(Session session = Session{9}) { feed(input::SessionUp{session, status().term, peer_incarnation}); }
  void committed(std::uint64_t epoch, Session session = Session{9}) { feed(input::EpochCommitted{session, {status().term, Epoch{epoch}}}); }
  void become_protected() {
    become_solo();
    session_up();
    committed(1);
    feed(input::GateSet{gate_order, Epoch{2}});
    committed(2);
    grant(Term{2}, {self(), peer()});
    persist(Term{2});
    saying.image_whole = true;
    saying.term = Term{2};
    run(150);
    all.clear();
  }
  // As secondary: whole, of a primary in term 2 that says so.
  void become_whole() {
    saying = {};
    saying.role = Role::kPrimary;
    saying.term = Term{2};
    saying.eligible_peer = kOurs;
    start();
    hear();
    answer(record(Term{2}, peer(), {peer(), self()}));
    feed(input::SessionUp{Session{9}, Term{2}, peer_incarnation});
    feed(input::ImageOverwritten{});
    feed(input::EpochCommitted{Session{9}, {Term{2}, Epoch{5}}});
    persist(Term{2});
    run(150);
    all.clear();
  }
  // ... with epochs going on for so long.
  void run_committing(int ms, std::uint64_t from_epoch) {
    for (int done = 0; done < ms; done += 50) {
      feed(input::EpochCommitted{Session{9}, {Term{2}, Epoch{from_epoch++}}});
      run(50);
    }
  }

  template <class T>
  std::optional<T> last() const {
    return find<T>(actions);
  }
  template <class T>
  std::optional<T> ever() const {
    return find<T>(all);
  }
  // Place of the latest action of this kind among all, -1 if none.
  template <class T>
  int place() const {
    for (int i = static_cast<int>(all.size()) - 1; i >= 0; --i)
      if (std::holds_alternative<T>(all[static_cast<std::size_t>(i)])) return i;
    return -1;
  }

  Heartbeat saying;
  bool speaking = true;
  bool probing = true;
  Incarnation peer_incarnation = kTheirs;
  std::vector<Action> actions;  // of the latest step
  std::vector<Action> all;      // since cleared
  AskId ask;
  Proposal proposal;
  std::uint64_t gate_order = 0;
  Heartbeat sent;

 private:
  static NodeConfig prepare(NodeId id, NodeConfig config, const std::vector<ProbePath>& more) {
    config.node = id;
    config.starts_as_primary = id == NodeId::kA;
    config.probes = {ProbePath::kServiceNic, ProbePath::kStorage};
    config.probes.insert(config.probes.end(), more.begin(), more.end());
    return config;
  }
  template <class T>
  static std::optional<T> find(const std::vector<Action>& actions) {
    for (auto it = actions.rbegin(); it != actions.rend(); ++it)
      if (const T* found = std::get_if<T>(&*it)) return *found;
    return std::nullopt;
  }

  const NodeId id_;
  Node node_;
  Instant now_{std::chrono::seconds{1000}};
  std::uint64_t peer_sequence_ = 0;
  int turn_ = 0;
};

}  // namespace understudy
