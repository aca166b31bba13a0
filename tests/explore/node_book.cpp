#include "tests/explore/node_book.h"

#include "failover/node_state.h"
#include "net/base/check.h"

namespace understudy::explore {
namespace {

constexpr ProbePath kPath = ProbePath::kStorage;

NodeConfig config_of(NodeConfig config, NodeId id) {
  config.node = id;
  config.starts_as_primary = id == NodeId::kA;
  config.probes = {kPath};
  return config;
}

template <class T>
std::uint8_t small(T value) {
  US_CHECK(static_cast<std::uint64_t>(value) < 256);
  return static_cast<std::uint8_t>(value);
}
template <class Tag>
std::uint8_t small(StrongU64<Tag> id) {
  return small(id.raw());
}
std::uint16_t medium(std::uint64_t value) {
  US_CHECK(value < 65536);
  return static_cast<std::uint16_t>(value);
}

// Orders as a byte: whether it is fenced, whether it is held, and the hold's revision.
std::uint8_t byte_of(const StandingOrders& orders) {
  return small(orders.hold.revision << 2 | (orders.hold.held ? 2U : 0U) | (orders.fenced.empty() ? 0U : 1U));
}
StandingOrders orders_of(std::uint8_t byte) {
  StandingOrders orders;
  orders.hold.revision = byte >> 2;
  orders.hold.held = (byte & 2) != 0;
  if (orders.hold.revision != 0) orders.hold.by = "explored";
  if ((byte & 1) != 0) orders.fenced = "fenced by explored";
  return orders;
}

Input input_of(const Event& event, NodeId node, std::uint8_t lag, const Heartbeat* heartbeat, const ArbiterAnswer* answer) {
  switch (event.kind) {
    case EventKind::kStarted:
      return input::Started{.self = {node, Incarnation{event.a}},
                            .term = Term{event.b},
                            .promise = Term{event.c},
                            .committed = {Term{event.d >> 8 & 255}, Epoch{event.d & 255}},
                            .ended = "",
                            .orders = orders_of(static_cast<std::uint8_t>(event.d >> 16))};
    case EventKind::kTick:
      return input::Tick{};
    case EventKind::kHeartbeat:
      return input::HeartbeatReceived{*heartbeat};
    case EventKind::kAnswer:
      return input::ArbiterAnswered{AskId{event.c}, *answer};
    case EventKind::kSessionUp:
      return input::SessionUp{Session{event.a}, Term{event.b}, Incarnation{event.c}};
    case EventKind::kImageOverwritten:
      return input::ImageOverwritten{};
    case EventKind::kEpochCommitted:
      return input::EpochCommitted{Session{event.a}, {Term{event.b}, Epoch{event.c}}, std::string{}};
    case EventKind::kSessionBroken:
      return input::SessionBroken{"explored"};
    case EventKind::kSessionRefused:
      return input::SessionRefused{Term{event.a}, "explored"};
    case EventKind::kPromisePersisted:
      return input::PromisePersisted{Term{event.a}};
    case EventKind::kTermPersisted:
      return input::TermPersisted{Term{event.a}};
    case EventKind::kOrdersPersisted:
      return input::OrdersPersisted{event.a};
    case EventKind::kStoreFailed:
      return input::StoreFailed{"explored"};
    case EventKind::kGateSet:
      return input::GateSet{event.c, Epoch{event.a}};
    case EventKind::kGuestRunning:
      return input::GuestRunning{Term{event.a}};
    case EventKind::kHandoverFinished:
      return input::HandoverFinished{{Term{event.a}, Epoch{event.b}}};
    case EventKind::kHandoverFailed:
      return input::HandoverFailed{"explored"};
    case EventKind::kLoopGap:
      return input::LoopGap{lag * kTickLength};
    case EventKind::kCommand:
      return input::Command{.id = CommandId{event.b}, .kind = static_cast<CommandKind>(event.a), .by = "explored"};
  }
  US_CHECK(false);
}

}  // namespace

NodeBook::NodeBook(const NodeConfig& config) {
  known_.emplace_back();  // kNoNode
  // Long after the clock's beginning, so that what has not happened yet lies far back.
  for (const NodeId id : kBothNodes)
    number_of(std::make_unique<Known>(Known{Node{config_of(config, id)}, Instant{} + std::chrono::hours{1}}));
}

Digest NodeBook::digest_of(const Node& node) {
  canon_.clear();
  node.visit_state(canon_);
  return canon_.digest();
}

NodeRef NodeBook::number_of(std::unique_ptr<Known> node) {
  const auto [found, is_new] = refs_.try_emplace(digest_of(node->node), static_cast<NodeRef>(known_.size()));
  if (is_new) {
    known_.push_back(std::move(node));
  } else if (check_merges_) {
    check_merge(*known_[found->second], *node);
  }
  return found->second;
}

// Whatever was left out of the state must make no difference: to the next tick, to a gap, and to what follows.
void NodeBook::check_merge(const Known& one, const Known& other) {
  ++checked_merges_;
  Known first = one;
  Known second = other;
  bool same = true;
  for (const std::uint8_t lag : std::array<std::uint8_t, 4>{1, 1, 3, 1}) {
    same &= carry(first, lag, {.kind = EventKind::kTick}) == carry(second, lag, {.kind = EventKind::kTick});
    same &= digest_of(first.node) == digest_of(second.node);
  }
  if (!same) ++false_merges_;
}

NodeBook::Step NodeBook::step(NodeRef ref, std::uint8_t lag, const Event& event) {
  const Digest key{std::uint64_t{ref} << 32 | std::uint64_t{lag} << 24 | static_cast<std::uint64_t>(event.kind) << 16 |
                       std::uint64_t{event.a} << 8 | event.b,
                   std::uint64_t{event.c} << 32 | event.d};
  // The key is its own digest, but for the hash table's sake.
  const Digest mixed{XXH3_64bits(&key, sizeof key), key.low ^ (key.high << 1)};
  if (const auto found = steps_.find(mixed); found != steps_.end()) return found->second;
  auto next = std::make_unique<Known>(*known_[ref]);
  const std::vector<Deed> deeds = carry(*next, lag, event);
  const Step step{number_of(std::move(next)), static_cast<std::uint32_t>(deeds_.size()), static_cast<std::uint32_t>(deeds.size())};
  deeds_.insert(deeds_.end(), deeds.begin(), deeds.end());
  steps_.emplace(mixed, step);
  return step;
}

std::vector<Deed> NodeBook::carry(Known& known, std::uint8_t lag, const Event& event) {
  std::vector<Deed> deeds;
  const auto feed = [&](const Input& input) {
    for (const Action& action : known.node.step(known.now, input))
      if (const auto deed = deed_of(action)) deeds.push_back(*deed);
  };
  const Instant before = known.now;
  known.now += lag * kTickLength;
  // The daemon's tick finds the report of the probe that it began at the tick before.
  if (event.kind == EventKind::kTick && event.a != static_cast<std::uint8_t>(PathState::kHangs)) {
    const bool works = event.a == static_cast<std::uint8_t>(PathState::kWorks);
    feed(input::Probed{{kPath, works ? Health::kHealthy : Health::kFailed, before, known.now, ""}});
  }
  feed(input_of(event, known.node.config().node, lag, event.kind == EventKind::kHeartbeat ? &heartbeats_[event.d] : nullptr,
                event.kind == EventKind::kAnswer ? &answers_[event.d] : nullptr));
  return deeds;
}

std::optional<Deed> NodeBook::deed_of(const Action& any) {
  struct Translate {
    NodeBook& book;
    using Result = std::optional<Deed>;
    Result operator()(const action::ReadArbiter& act) { return Deed{.kind = DeedKind::kRead, .c = medium(act.ask.raw())}; }
    Result operator()(const action::Propose& act) {
      return Deed{.kind = DeedKind::kPropose, .c = medium(act.ask.raw()), .d = book.proposals_.number_of(act.proposal)};
    }
    Result operator()(const action::PersistPromise& act) { return Deed{.kind = DeedKind::kPersistPromise, .a = small(act.promise)}; }
    Result operator()(const action::PersistTerm& act) { return Deed{.kind = DeedKind::kPersistTerm, .a = small(act.term)}; }
    Result operator()(const action::PersistOrders& act) {
      return Deed{.kind = DeedKind::kPersistOrders, .a = small(act.order), .b = byte_of(act.orders)};
    }
    Result operator()(const action::SendHeartbeat& act) {
      return Deed{.kind = DeedKind::kSendHeartbeat, .c = medium(act.heartbeat.sequence), .d = book.heartbeats_.number_of(act.heartbeat)};
    }
    Result operator()(const action::BootGuest& act) { return Deed{.kind = DeedKind::kBoot, .a = small(act.term)}; }
    Result operator()(const action::TakeOver& act) { return Deed{.kind = DeedKind::kTakeOver, .a = small(act.term)}; }
    Result operator()(const action::FinishGuest&) { return Deed{.kind = DeedKind::kFinish}; }
    Result operator()(const action::ResumeGuest& act) { return Deed{.kind = DeedKind::kResume, .a = small(act.term)}; }
    Result operator()(const action::StopGuest&) { return Deed{.kind = DeedKind::kStop}; }
    Result operator()(const action::StartSession& act) {
      return Deed{.kind = DeedKind::kStartSession, .a = small(act.term), .b = small(act.peer.incarnation)};
    }
    Result operator()(const action::RaiseSessionTerm& act) { return Deed{.kind = DeedKind::kRaiseTerm, .a = small(act.term)}; }
    Result operator()(const action::StopSession&) { return Deed{.kind = DeedKind::kStopSession}; }
    Result operator()(const action::AcceptSessions& act) {
      return Deed{.kind = DeedKind::kAcceptSessions, .a = small(act.floor), .b = small(act.keep_image)};
    }
    Result operator()(const action::RefuseSessions&) { return Deed{.kind = DeedKind::kRefuseSessions}; }
    Result operator()(const action::SetGate& act) {
      return Deed{.kind = DeedKind::kSetGate, .a = small(act.mode), .b = small(act.term), .c = medium(act.order), .d = small(act.peer)};
    }
    Result operator()(const action::Rejoin&) { return Deed{.kind = DeedKind::kRejoin}; }
    Result operator()(const action::FencePeer&) { US_CHECK(false); }  // not configured
    // For people and for the segment.
    Result operator()(const action::AnnounceAddress&) { return std::nullopt; }
    Result operator()(const action::CommandResult&) { return std::nullopt; }
    Result operator()(const action::LogEvent&) { return std::nullopt; }
    Result operator()(const action::Timeline&) { return std::nullopt; }
    Result operator()(const action::PersistEnd&) { return std::nullopt; }
    // Guests that end by themselves are not explored.
    Result operator()(const action::RestartGuest&) { US_CHECK(false); }
    Result operator()(const action::RecoverGuest&) { US_CHECK(false); }
  };
  return std::visit(Translate{*this}, any);
}

}  // namespace understudy::explore
