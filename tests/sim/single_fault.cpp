// What strikes a protected pair once, or once and again, and what must hold then.
#include "tests/sim/run.h"

namespace understudy::sim {

void Run::single_fault() {
  run_for(ms(3000));
  report();
  if (!a_.up() || !a_.standing().is_protected)
    return oracle_.violate("protected", "an undisturbed pair is not protected: " + a_.describe());
  run_for(random().between(ms(0), ms(200)));
  switch (random().below(10)) {
    case 0:
      return power_off();
    case 1:
      return held();
    case 2:
      return ordered();
    default:
      break;
  }
  const Instant struck_at = engine_.now();
  const std::string fault = strike();
  trace("the one fault: " + fault);
  run_for(ms(8000));
  if (oracle_.violated()) return;
  report();
  if (fault.ends_with("over at a") || fault.ends_with("over at b"))
    if (a_.standing().role == Role::kPrimary || a_.standing().role == Role::kSolo) oracle_.violate("commands", fault + " did nothing");
  const Duration silence = oracle_.longest_silence_since(struck_at);
  if (silence > ms(1200))
    oracle_.violate("service goes on",
                    fault + ": silent for " + std::to_string(to_ms(silence)) + " ms; " + a_.describe() + "; " + b_.describe());
}

// A protected pair is struck, and what was struck is mended after a while: again and again.
void Run::endure() {
  for (unsigned i = 0; i < options_.faults; ++i) {
    if (!wait_until_protected()) {
      if (!oracle_.violated())
        oracle_.violate("protection", "the pair is not protected again after " + std::to_string(faults_) + " faults; " + a_.describe() +
                                          "; " + b_.describe());
      return;
    }
    run_for(random().between(ms(0), ms(300)));
    oracle_.forget_instants();
    const Instant struck_at = engine_.now();
    const std::string fault = strike();
    trace("fault " + std::to_string(i + 1) + ": " + fault);
    run_for(random().between(ms(20), ms(2500)));
    const Duration silence = oracle_.longest_silence_since(struck_at);
    if (oracle_.violated()) return;
    if (silence > ms(1200))
      return oracle_.violate("service goes on",
                             fault + ": silent for " + std::to_string(to_ms(silence)) + " ms; " + a_.describe() + "; " + b_.describe());
    ++faults_;
    if (silence > kNoticed) {
      ++interruptions_;
      downtime_ += silence;
    }
    heal();
  }
}

// And nothing is under way any more: what was struck may have been noticed just before it was mended, and a move have begun.
bool Run::wait_until_protected() {
  constexpr int kStep = 50;
  constexpr int kQuiet = 600;
  Term term;
  int quiet = 0;
  for (int waited = 0; waited < 30'000 && !oracle_.violated(); waited += kStep) {
    run_for(ms(kStep));
    const bool all_up = a_.up() && b_.up() && !a_.frozen() && !b_.frozen();
    const bool is_protected = all_up && (a_.standing().is_protected || b_.standing().is_protected);
    const Term now = witness_.state().record ? witness_.state().record->term : Term{};
    quiet = is_protected && now == term ? quiet + kStep : 0;
    term = now;
    if (quiet >= kQuiet) return true;
  }
  return false;
}

// A guest that powers off is over for both nodes, whatever happens to one of them then, until an operator starts it.
void Run::power_off() {
  a_.power_off();
  run_for(ms(1500));
  if (oracle_.violated()) return;
  for (Host* one : {&a_, &b_})
    if (!one->standing().end_settled || one->status().ended.empty())
      return oracle_.violate("both name it", "the guest powered off, and this node does not say so: " + one->describe());
  const std::string fault = strike();
  trace("the one fault: " + fault);
  run_for(ms(4000));
  const bool command = fault.find("over at") != std::string::npos;
  if (oracle_.violated() || command || a_.frozen() || b_.frozen() || fault.starts_with("cut") || fault.starts_with("killed the w")) return;
  const Instant started_at = engine_.now();
  start_again(a_, b_);
  run_for(ms(4000));
  report();
  if (!oracle_.last_delivery() || *oracle_.last_delivery() < started_at)
    oracle_.violate("starts again",
                    fault + " after a power-off, and then the operator could not start the guest; " + a_.describe() + "; " + b_.describe());
}

// A held pair's guest stays where it is, whatever fails, also when nodes restart; once released it goes where it can run.
void Run::held() {
  host(random().next()).command(CommandKind::kHold);
  run_for(ms(500));
  for (Host* one : {&a_, &b_})
    if (!one->status().hold.held || !one->status().peer_knows_hold)
      return oracle_.violate("both know", "the pair is held, and this node does not say so: " + one->describe());
  if (random().chance(0.3)) {
    b_.kill();
    run_for(random().between(ms(10), ms(1000)));
    b_.start();
    run_for(ms(3000));
  }
  const std::string fault = strike();
  trace("the one fault: " + fault);
  run_for(random().between(ms(1000), ms(6000)));
  if (oracle_.violated() || fault.find("over at") != std::string::npos) return;
  const NodeIncarnation holder = witness_.state().record->holder;
  if (holder.node != NodeId::kA)
    return oracle_.violate("held", fault + ": the guest of a held pair has moved; " + a_.describe() + "; " + b_.describe());
  for (Host* one : {&a_, &b_})
    if (one->up() && !one->frozen() && !one->status().hold.held)
      return oracle_.violate("held", fault + ": the hold was forgotten; " + one->describe());
  const Instant released_at = engine_.now();
  for (Host* one : {&a_, &b_}) one->command(CommandKind::kRelease);
  run_for(ms(4000));
  report();
  if (!oracle_.last_delivery() || *oracle_.last_delivery() < released_at + ms(1500))
    oracle_.violate("goes on when released", fault + ": released, and yet silent; " + a_.describe() + "; " + b_.describe());
}

// What operators order is done without a noticeable silence, lasts over a restart, and can be taken back.
void Run::ordered() {
  const Instant ordered_at = engine_.now();
  Host& victim = host(random().next());
  const bool fences = random().chance(0.7);
  Host& ordered = fences ? victim : a_;
  ordered.command(fences ? CommandKind::kFence : CommandKind::kUnprotect);
  run_for(ms(3500));
  if (oracle_.violated()) return;
  report();
  const auto obeyed = [&] { return fences ? ordered.standing().role == Role::kFenced : ordered.standing().role == Role::kSolo; };
  if (!obeyed()) return oracle_.violate("obeyed", "not done: " + ordered.describe());
  if (fences && random().chance(0.5)) {
    ordered.kill();
    run_for(random().between(ms(10), ms(500)));
    ordered.start();
    run_for(ms(1000));
    if (!oracle_.violated() && !obeyed()) return oracle_.violate("obeyed", "forgotten in a restart: " + ordered.describe());
  }
  ordered.command(fences ? CommandKind::kUnfence : CommandKind::kProtect);
  run_for(ms(1000));
  // A guest ran in that process: the operator is told to start it again.
  if (!oracle_.violated() && ordered.standing().role == Role::kFenced) {
    ordered.kill();
    ordered.start();
  }
  run_for(ms(4000));
  if (oracle_.violated()) return;
  if (!a_.standing().is_protected && !b_.standing().is_protected)
    return oracle_.violate("taken back", "not protected again; " + a_.describe() + "; " + b_.describe());
  if (const Duration silence = oracle_.longest_silence_since(ordered_at); silence > ms(1200))
    oracle_.violate("service goes on", "orders: silent for " + std::to_string(to_ms(silence)) + " ms");
}

std::string Run::strike() {
  Host& victim = host(random().next());
  const std::string name = std::string{" "} + name_of(victim.self().node);
  const Place place = victim.self().node == NodeId::kA ? Place::kA : Place::kB;
  switch (random().below(16)) {
    case 0:
      victim.kill();
      return "killed" + name;
    case 1:
      victim.kill();
      engine_.after(random().between(ms(10), ms(3000)), [&victim] { victim.start(); });
      return "killed and restarted" + name;
    case 2:
      victim.freeze(random().between(ms(50), ms(20'000)));
      return "froze" + name;
    case 3:
      network_.link(Place::kA, Place::kB).cut = network_.link(Place::kB, Place::kA).cut = true;
      return "cut a-b";
    case 4:
      network_.link(Place::kA, Place::kB).cut = true;
      return "cut a->b";
    case 5:
      network_.link(Place::kB, Place::kA).cut = true;
      return "cut b->a";
    case 6:
      network_.link(place, Place::kWitness).cut = network_.link(Place::kWitness, place).cut = true;
      return "cut witness from" + name;
    case 7:
      witness_.set_up(false);
      return "killed the witness";
    case 8:
      victim.set_path(ProbePath::kServiceNic, false);
      return "service NIC of" + name;
    case 9:
      victim.set_path(ProbePath::kStorage, false);
      return "storage of" + name;
    case 10:
      a_.command(CommandKind::kSwitchover);
      return "switchover at a";
    case 11:
      b_.command(CommandKind::kTakeover);
      return "takeover at b";
    case 12:
      a_.break_guest();
      return "KVM gave up at a";
    case 13:
      a_.reboot_guest();
      return "the guest reset itself";
    case 14:
      victim.set_path(ProbePath::kKernel, false);
      return "a suspicion of the kernel of" + name;
    default:
      victim.set_store(false);
      return "store hangs at" + name;
  }
}

}  // namespace understudy::sim
