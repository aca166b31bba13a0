// A pair without a third place, and operators who never assert what is not so.
#include "tests/sim/run.h"

namespace understudy::sim {
namespace {

bool holds(const NodeStanding& node) { return node.role == Role::kPrimary || node.role == Role::kSolo; }

}  // namespace

void Run::manual() {
  engine_.after(kFaultsFrom, [this] { next_fault(); });
  engine_.after(ms(500), [this] { operator_looks(); });
  run_for(random().between(ms(3000), ms(9000)));
  heal();
  run_for(kInFlight);
  end_orders();
  start_again();
  run_for(kSettle / 2);
  start_again();
  run_for(kSettle);
  if (oracle_.violated()) return;
  report();
  const auto serves = [](const Host& one) { return holds(one.standing()) && one.guest_exists(); };
  lost_by_design_ = !serves(a_) && !serves(b_);
  if (lost_by_design_ && (may_take_over(a_, b_) || may_take_over(b_, a_)))
    oracle_.violate("progress", "all faults ended, an image may run, and nobody runs it; " + a_.describe() + "; " + b_.describe());
  if (lost_by_design_) return;
  if (!oracle_.last_delivery() || engine_.now() - *oracle_.last_delivery() > ms(1000))
    oracle_.violate("progress", "all faults ended, a guest runs, and nothing is delivered; " + a_.describe() + "; " + b_.describe());
  const auto fenced = [](const Host& one) { return one.standing().role == Role::kFenced; };
  if (!fenced(a_) && !fenced(b_) && !a_.standing().is_protected && !b_.standing().is_protected)
    oracle_.violate("protection",
                    "all faults ended, both nodes live, and the pair is not protected; " + a_.describe() + "; " + b_.describe());
  for (Host* one : {&a_, &b_})
    if (one->unanswered_commands() != 0) oracle_.violate("commands", "an operator's command was never answered; " + one->describe());
}

// The other host does not run the guest (one that is off never will), and has not run it alone: its own record says so.
bool Run::may_take_over(const Host& one, const Host& other) const {
  if (!one.up() || one.frozen() || one.standing().role != Role::kSecondary || !one.standing().image_whole || !one.status().ended.empty())
    return false;
  if (other.up() && (other.frozen() || holds(other.standing()))) return false;
  // Both records must name it: one whose holder died before it was told is refused, which is safe.
  const auto eligible = [&](const Host& whose) {
    const auto& record = whose.record().record;
    return record && std::ranges::find(record->eligible, one.self()) != record->eligible.end();
  };
  const auto& theirs = other.record().record;
  return eligible(one) && (!theirs || theirs->term <= one.record().record->term || eligible(other));
}

bool Run::may_go_on_alone(const Host& one, const Host& other) const {
  if (!one.up() || one.frozen() || one.standing().role != Role::kPrimary) return false;
  if (other.up() && (other.frozen() || holds(other.standing()) || other.unanswered_commands() != 0)) return false;
  const auto& record = other.record().record;
  return !record || record->holder.node != other.self().node || (one.record().record && one.record().record->term >= record->term);
}

// Now and then, one grant at a time; a host that can't be seen is switched off first.
void Run::operator_looks() {
  if (oracle_.violated()) return;
  engine_.after(random().between(ms(100), ms(700)), [this] { operator_looks(); });
  if ((a_.up() && a_.unanswered_commands() != 0) || (b_.up() && b_.unanswered_commands() != 0)) return;
  const bool a_first = random().chance(0.5);
  Host& one = a_first ? a_ : b_;
  Host& other = a_first ? b_ : a_;
  const bool lost = one.up() && !one.frozen() && !one.status().peer_heard;
  if (lost && one.standing().role == Role::kSecondary && one.standing().image_whole && other.up() && !healed_ && random().chance(0.3)) {
    other.kill();
    engine_.after(random().between(ms(500), ms(3000)), [&other] { other.start(); });
  }
  const bool lies = options_.bug == Bug::kOperatorLies && one.up();
  if (lies || may_take_over(one, other) || may_go_on_alone(one, other)) one.command(CommandKind::kGrant);
}

}  // namespace understudy::sim
