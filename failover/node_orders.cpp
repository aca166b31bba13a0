// What an operator orders for longer than a moment: hold and release, fence and unfence, protect and unprotect; and the guest's way home.
//
// A hold is the pair's: each node keeps the newest word that it has heard, tells it in every heartbeat, and stores it. A fence is the
// node's own. That a holder runs alone on purpose lives as long as it holds the guest.
#include <string_view>
#include <tuple>

#include "failover/node.h"

namespace understudy {

bool newer(const Hold& one, const Hold& other) {
  // Without an end (0) it is the longest: 0 - 1 wraps around.
  const auto until = [](const Hold& hold) { return hold.until_ns - 1; };
  return std::tuple{one.revision, one.held, until(one), one.since_ns, std::string_view{one.by}, std::string_view{one.reason}} >
         std::tuple{other.revision, other.held, until(other), other.since_ns, std::string_view{other.by}, std::string_view{other.reason}};
}

// ------------------------------------------------------------------------------------------------------------------ hold
void Node::command_hold(const input::Command& in) {
  const bool hold = in.kind == CommandKind::kHold;
  if (ordering_) return answer(in.id, false, std::string{name_of(in.kind)} + " refused: another order is under way");
  if (!hold && !orders_.hold.held && (!peer_.known() || peer_knows_hold())) return answer(in.id, true, "the pair is not held");
  Hold next{.revision = orders_.hold.revision + 1, .held = hold, .since_ns = in.now_ns, .until_ns = 0, .by = in.by, .reason = in.reason};
  if (hold && in.length) next.until_ns = in.now_ns + static_cast<std::uint64_t>(std::max(in.length->count(), Duration::rep{1}));
  set_hold(std::move(next), hold ? in.length : std::nullopt);
  ordering_ = PendingOrder{.id = in.id, .kind = in.kind, .stored_by = orders_asked_, .deadline = now_ + config_.order_patience};
}

void Node::set_hold(Hold hold, std::optional<Duration> ends_in) {
  orders_.hold = std::move(hold);
  hold_ends_at_.reset();
  if (orders_.hold.held && ends_in) hold_ends_at_ = now_ + *ends_in;
  const Hold& now = orders_.hold;
  note(Severity::kWarning, now.held ? "held: nothing moves by itself" : "released",
       {{"by", now.by}, {"reason", now.reason}, {"revision", std::to_string(now.revision)}});
  beat_now_ = true;
  persist_orders();
}

void Node::hear_hold() {
  const Heartbeat& peer = peer_.last();
  if (newer(peer.hold, orders_.hold)) set_hold(peer.hold, peer.hold_ends_in);
}

bool Node::peer_knows_hold() const { return peer_.known() && peer_.last().hold == orders_.hold; }

// ---------------------------------------------------------------------------------------------------------- home, and alone
void Node::command_failback(CommandId id) {
  const auto refuse = [&](const std::string& why) { answer(id, false, "failback refused: " + why); };
  if (!config_.home) return refuse("the configuration names no home: set [pair] home to \"a\" or \"b\" in both nodes' files");
  const bool is_home = *config_.home == config_.node;
  if (runs_guest() && is_home) return refuse("the guest is at home: node " + std::string{name_of(config_.node)} + " runs it");
  if (!runs_guest() && is_home) return refuse("the guest does not run here: ask on the other host, which hands it over");
  if (!runs_guest())
    return refuse(std::string{"this node is "} + name_of(role_) + ", and node " + name_of(*config_.home) + " is the guest's home");
  command_switchover(id);
}

void Node::command_unprotect(const input::Command& in) {
  const auto refuse = [&](const std::string& why) { answer(in.id, false, "unprotect refused: " + why); };
  if (!runs_guest()) return refuse(std::string{"this node is "} + name_of(role_) + "; ask on the host that runs the guest");
  if (ordering_ || handover_) return refuse("another order is under way");
  if (wants_no_peer_ && role_ == Role::kSolo)
    return answer(in.id, true, "the guest runs alone already; `understudy protect` takes the peer back");
  if (const Verdict self = verdict_on_self(); self.condition == Condition::kFailed)
    return refuse("here, " + self.text + ": the other node may have to take the guest over");
  wants_no_peer_ = true;
  beat_now_ = true;
  note(Severity::kWarning, "an operator wants no peer", {{"by", in.by}});
  ordering_ = PendingOrder{.id = in.id, .kind = in.kind, .deadline = now_ + config_.order_patience};
}

void Node::command_protect(CommandId id) {
  if (!runs_guest())
    return answer(id, false, std::string{"protect refused: this node is "} + name_of(role_) + "; ask on the host that runs the guest");
  if (ordering_ && ordering_->kind == CommandKind::kUnprotect) order_done(false, "unprotect was called off by `understudy protect`");
  const bool was_alone = std::exchange(wants_no_peer_, false);
  beat_now_ = true;
  if (role_ == Role::kPrimary) return answer(id, true, "the other node may take over already");
  if (was_alone) why_ = "runs alone: the peer is not eligible";
  if (!peer_.known() || now_ - peer_.alive_at() > config_.stalled_after)
    return answer(id, true, "the other node is taken back once it is there: start its daemon, or `understudy unfence` there");
  if (peer_.last().role == Role::kFenced)
    return answer(id, true, "the other node is taken back once it is no longer fenced: `understudy unfence` there, or restart its daemon");
  answer(id, true, "the other node is taken back, and is sent the whole guest: `understudy status` says when it is protected");
}

// ----------------------------------------------------------------------------------------------------------------- fence
std::string Node::reason_not_to_fence() const {
  if (ordering_ || command_ || handover_) return "another order is under way";
  if (applying_ || taking_over()) return "this node is about to take over; ask again when `understudy status` says what came of it";
  if (role_ == Role::kSolo)
    return "the guest runs here alone, and nobody could go on with it: `understudy protect` first, or let it power off (`understudy "
           "power-button`) and stop the daemon";
  if (role_ == Role::kSecondary && image_whole_) {
    const bool holder_well = peer_holds() && verdict_on_peer().condition != Condition::kFailed;
    if (!holder_well) return "the other node is not well, and this one holds the guest's image: `understudy takeover` here first";
  }
  return "";
}

void Node::command_fence(const input::Command& in) {
  if (const std::string reason = reason_not_to_fence(); !reason.empty()) return answer(in.id, false, "fence refused: " + reason);
  const std::string by = "fenced by " + in.by + (in.reason.empty() ? "" : " (" + in.reason + ")");
  ordering_ = PendingOrder{.id = in.id, .kind = in.kind, .deadline = now_ + config_.order_patience, .by = by};
  if (role_ != Role::kPrimary) return;
  if (const std::string reason = reason_not_to_switch_over(); !reason.empty())
    return order_done(false, "fence refused: the guest runs here, and can't be handed over: " + reason);
  begin_handover(CommandId{});  // handover_over() tells how the fence goes on
}

void Node::command_unfence(CommandId id) {
  const auto refuse = [&](const std::string& why) { answer(id, false, "unfence refused: " + why); };
  if (ordering_) return refuse("another order is under way");
  if (orders_.fenced.empty())
    return refuse(role_ == Role::kFenced ? "no operator fenced this node: " + why_ + "; restart its daemon, and it joins the pair"
                                         : std::string{"this node is not fenced, but "} + name_of(role_));
  orders_.fenced.clear();
  persist_orders();
  ordering_ = PendingOrder{.id = id, .kind = CommandKind::kUnfence, .stored_by = orders_asked_, .deadline = now_ + config_.order_patience};
}

// A switchover ended, whoever asked for it: an operator, or a fence.
void Node::handover_over(bool ok, const std::string& sentence) {
  const CommandId id = handover_->command;
  handover_.reset();
  if (id != CommandId{}) return answer(id, ok, sentence);
  if (ordering_ && ordering_->kind == CommandKind::kFence && !ok) order_done(false, "fence refused: " + sentence);
}

void Node::evaluate_fence() {
  if (handover_ || runs_guest()) return;  // the handover's end goes on, or ends it
  if (ordering_->stored_by == 0) {
    orders_.fenced = ordering_->by;
    persist_orders();
    ordering_->stored_by = orders_asked_;
    ordering_->deadline = now_ + config_.order_patience;
  }
  // At once, not when it is stored: what was ordered is done; the answer says whether it lasts.
  if (role_ != Role::kFenced) fence(orders_.fenced, false);
  may_rejoin_ = false;
  why_ = orders_.fenced;
  if (orders_stored_ >= ordering_->stored_by)
    order_done(true, "this node is fenced, and stays so: `understudy unfence` lets it join again");
}

// ----------------------------------------------------------------------------------------------------- without an arbiter
// Solo needs no operator's word where the one other incarnation that might be granted the guest says itself that it never can be: another
// process lives in its place, or it is fenced, and then holds no image. Nor does an operator's order to a pair that talks.
bool Node::may_ask_alone() const {
  if (!config_.manual || operator_granted()) return true;
  if (peer_lost_its_image()) return true;
  return peer_heard() && (peer_.last().role == Role::kFenced || (wants_no_peer_ && peer_.last().promise <= term_));
}

void Node::command_grant(CommandId id) {
  const auto refuse = [&](const std::string& why) { answer(id, false, "grant refused: " + why); };
  if (applying_ && waits_for_fencing()) {
    answer(id, true, "the guest is started here: an operator says that the other host is off");
    return peer_is_fenced("an operator says so");
  }
  if (!config_.manual) return refuse("this pair has an arbiter, which grants");
  if (ordering_ || command_) return refuse("another order is under way");
  if (peer_holds())
    return refuse(
        "the other node lives and holds the guest: `understudy switchover` there moves it; if its host is sick, power it off first");
  if (role_ == Role::kSecondary) {
    if (const std::string reason = reason_not_to_take_over(); !reason.empty()) return refuse(reason);
    command_ = PendingCommand{id, now_ + config_.handover_deadline};
    if (!taking_over()) begin_candidacy(Goal::kTakeover, "an operator's grant");
    return;
  }
  if (role_ != Role::kPrimary) return refuse(std::string{"this node is "} + name_of(role_) + ", and waits for no grant: " + why_);
  const bool contested = peer_.known() && peer_.last().promise > term_;
  const bool unsettled = guest_ == Guest::kPaused && !handover_;
  if (reason_to_drop_peer().empty() && !contested && !unsettled) return refuse("the pair is whole, and waits for no grant");
  note(Severity::kWarning, "an operator grants", {{"term", std::to_string(term_.raw())}});
  ordering_ = PendingOrder{.id = id, .kind = CommandKind::kGrant, .stored_by = term_.raw(), .deadline = now_ + config_.order_patience};
}

// ------------------------------------------------------------------------------------------------------------- under way
void Node::persist_orders() { emit(action::PersistOrders{++orders_asked_, orders_}); }

void Node::on(const input::OrdersPersisted& in) { orders_stored_ = std::max(orders_stored_, in.order); }

void Node::order_done(bool ok, std::string sentence) {
  const CommandId id = ordering_->id;
  ordering_.reset();
  answer(id, ok, std::move(sentence));
}

void Node::evaluate_orders() {
  if (hold_ends_at_ && now_ >= *hold_ends_at_)
    set_hold(
        {.revision = orders_.hold.revision + 1, .since_ns = orders_.hold.until_ns, .by = orders_.hold.by, .reason = "its time is over"},
        {});
  if (!ordering_) return;
  const bool stored = ordering_->stored_by != 0 && orders_stored_ >= ordering_->stored_by;
  const bool late = now_ >= ordering_->deadline;
  switch (ordering_->kind) {
    case CommandKind::kHold:
    case CommandKind::kRelease: {
      const bool hold = ordering_->kind == CommandKind::kHold;
      if (stored && peer_knows_hold())
        return order_done(true, hold ? "held: neither node moves the guest by itself until `understudy release`" +
                                           std::string{hold_ends_at_ ? ", or until its time is over" : ""}
                                     : "released: the nodes move the guest again when they must");
      if (!late) return;
      const std::string word = hold ? "held" : "released";
      if (!stored) return order_done(false, word + ", but the store does not answer: after a restart this node will not know it");
      return order_done(false, word + " here; the other node did not hear of it: it does once it is heard again, or say it there, too");
    }
    case CommandKind::kUnprotect:
      if (!runs_guest()) return order_done(false, "unprotect: " + why_);
      if (role_ == Role::kSolo && protecting_ == Protecting::kNo && goal_ == Goal::kNone && !applying_)
        return order_done(true, "the guest runs alone, NOT PROTECTED; `understudy protect` takes the other node back");
      if (late) order_done(false, "not yet alone, and goes on trying: " + why_ + "; `understudy protect` calls it off");
      return;
    case CommandKind::kFence:
      evaluate_fence();
      if (ordering_ && late && !runs_guest())
        order_done(false, "fenced, but the store does not answer: after a restart this node joins again");
      return;
    case CommandKind::kUnfence:
      if (!stored && !late) return;
      if (!stored) return order_done(false, "the store does not answer: after a restart this node is fenced again; ask again");
      if (role_ != Role::kFenced) return order_done(true, "this node is not fenced any more");
      if (machine_spent_) {
        may_rejoin_ = true;
        return order_done(true, "not fenced any more; a guest ran in this daemon's process: restart it, and it joins the pair");
      }
      joins_again_ = true;
      role_ = Role::kStarting;
      why_ = "joins the pair again";
      no_record_ = false;
      recheck_at_ = now_;
      return order_done(true, "joins the pair again: `understudy status` says when it holds the guest's image");
    case CommandKind::kGrant:
      if (!runs_guest()) return order_done(false, "not granted: " + why_);
      if (term_.raw() > ordering_->stored_by && goal_ == Goal::kNone && !applying_)
        return order_done(true, "granted: this node goes on in term " + std::to_string(term_.raw()));
      if (late) order_done(false, "not granted: " + why_);
      return;
    default:
      return;
  }
}

}  // namespace understudy
