// One run as it goes on: the pair, its surroundings, what strikes them, and what must hold then.
#pragma once

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>

#include "tests/sim/engine.h"
#include "tests/sim/host.h"
#include "tests/sim/network.h"
#include "tests/sim/oracle.h"
#include "tests/sim/pair.h"
#include "tests/sim/witness.h"

namespace understudy::sim {

inline constexpr Duration kFaultsFrom = ms(300);
inline constexpr Duration kSettle = ms(7000);
inline constexpr Duration kInFlight = ms(1500);  // longest life of a message, with room

class Run {
 public:
  explicit Run(const Options& options)
      : options_{options},
        engine_{options.seed},
        network_{engine_},
        oracle_{engine_},
        witness_{engine_, oracle_, options.bug},
        keeps_image_{engine_.random.chance(0.5)},
        a_{NodeId::kA, make_config(), options_, engine_, network_, witness_, oracle_},
        b_{NodeId::kB, make_config(), options_, engine_, network_, witness_, oracle_} {
    a_.connect(b_);
    b_.connect(a_);
  }

  Outcome go() {
    engine_.after(engine_.random.between(ms(0), ms(200)), [this] { a_.start(); });
    engine_.after(engine_.random.between(ms(0), ms(200)), [this] { b_.start(); });
    switch (options_.scenario) {
      case Scenario::kSingleFault:
        single_fault();
        break;
      case Scenario::kEndurance:
        endure();
        break;
      case Scenario::kManual:
        manual();
        break;
      case Scenario::kChaos:
      case Scenario::kNoCrash:
        chaos();
        break;
    }
    return {.ok = !oracle_.violated(),
            .rule = oracle_.rule(),
            .what = oracle_.what(),
            .delivered = oracle_.delivered(),
            .takeovers = oracle_.takeovers(),
            .terms = oracle_.grants().size(),
            .digest = oracle_.digest(),
            .faults = faults_,
            .interruptions = interruptions_,
            .downtime = downtime_,
            .lived = engine_.now().time_since_epoch(),
            .replayed = a_.steps_replayed() + b_.steps_replayed(),
            .lost_by_design = lost_by_design_};
  }

 private:
  Random& random() { return engine_.random; }
  NodeConfig make_config() {
    Random& random = engine_.random;
    NodeConfig config;
    config.switchover_keeps_image = keeps_image_;
    config.home = NodeId::kA;
    config.manual = options_.scenario == Scenario::kManual;
    config.probes = {ProbePath::kServiceNic, ProbePath::kStorage, ProbePath::kGuestDisk, ProbePath::kKernel};
    if (options_.scenario == Scenario::kSingleFault) {
      if (random.chance(0.5)) config.rejoin_after = random.between(ms(10), ms(1000));
      return config;
    }
    if (options_.scenario == Scenario::kEndurance) {
      config.rejoin_after = random.between(ms(10), ms(500));
      config.hold_down = {};  // the next fault may sit where the guest has just moved to, and the service is to go on all the same
      return config;
    }
    if (options_.scenario == Scenario::kChaos && random.chance(0.3)) {
      config.fencing = random.chance(0.6) ? Fencing::kRequired : Fencing::kAlongside;
      config.fence_retry = random.between(ms(50), ms(500));
    }
    if (random.chance(0.2)) config.self_fence_after = random.between(ms(0), ms(1000));
    // Safety must not hang on thresholds: wild ones, too.
    if (random.chance(0.5)) {
      config.takeover_after = random.between(ms(60), ms(900));
      config.solo_after = random.between(ms(60), ms(900));
      config.stalled_after = random.between(ms(200), ms(2000));
      config.gap_after = random.between(ms(50), ms(600));
      config.sick_hold = random.between(ms(0), ms(300));
      config.doubt_hold = random.between(ms(0), ms(2000));
    }
    config.hold_down = random.between(ms(0), ms(3000));  // shorter than what is left after the last fault
    if (random.chance(0.7)) config.rejoin_after = random.between(ms(10), ms(1000));
    return config;
  }

  Host& host(std::uint64_t pick) { return pick % 2 == 0 ? a_ : b_; }
  void run_for(Duration length) {
    engine_.run_until(engine_.now() + length, [this] { return oracle_.violated(); });
  }
  void trace(const std::string& text) const {
    if (options_.verbose) std::printf("%10.3f ms  *  %s\n", to_ms(engine_.now().time_since_epoch()), text.c_str());
  }
  // Undone only if the faults have not ended meanwhile.
  void later(Duration delay, std::function<void()> undo) {
    engine_.after(delay, [this, undo = std::move(undo)] {
      if (!healed_) undo();
    });
  }

  void chaos() {
    engine_.after(kFaultsFrom, [this] { next_fault(); });
    witness_.on_grant([this](const ArbiterRecord& record) { strike_at_grant(record); });
    run_for(random().between(ms(3000), ms(9000)));
    heal();
    run_for(kInFlight);
    end_orders();
    start_again();
    if (oracle_.violated()) return;  // and a host may be down
    const bool alive = someone_may_run();
    lost_by_design_ = !alive;
    // A process that was stopped may wake up long after, and only then learn that its guest is over.
    run_for(kSettle / 2);
    start_again();
    run_for(kSettle / 2);
    if (oracle_.violated()) return;
    report();
    if (alive && (!oracle_.last_delivery() || engine_.now() - *oracle_.last_delivery() > ms(1000)))
      oracle_.violate("progress",
                      "all faults ended, an image that may run exists, and nothing is delivered; " + a_.describe() + "; " + b_.describe());
    if (!alive && options_.scenario == Scenario::kNoCrash)
      oracle_.violate("survival", "nothing was killed, and yet no image may run; " + a_.describe() + "; " + b_.describe());
    const auto is = [](const Host& one, Role role) { return one.standing().role == role; };
    if (alive && !is(a_, Role::kFenced) && !is(b_, Role::kFenced) && !a_.standing().is_protected && !b_.standing().is_protected)
      oracle_.violate("protection",
                      "all faults ended, both nodes live, and the pair is not protected; " + a_.describe() + "; " + b_.describe());
    for (Host* one : {&a_, &b_})
      if (one->unanswered_commands() != 0) oracle_.violate("commands", "an operator's command was never answered; " + one->describe());
  }

  // The operator takes back whatever is still ordered.
  void end_orders() {
    for (int tries = 0; tries < 10 && !oracle_.violated(); ++tries) {
      for (Host* one : {&a_, &b_}) {
        if (!one->up()) continue;
        const NodeStatus status = one->status();
        if (status.hold.held) one->command(CommandKind::kRelease);
        if (!status.fenced_by_order.empty()) one->command(CommandKind::kUnfence);
        if (status.wants_no_peer) one->command(CommandKind::kProtect);
      }
      run_for(ms(400));
    }
  }

  // A guest that is over, or that KVM gave up on with nobody to take over, is started by the operator: at whoever may.
  void start_again() {
    if (oracle_.violated()) return;
    const auto waits = [](const Host& one) { return !one.status().ended.empty() || one.status().guest_note.starts_with("KVM"); };
    for (Host* one : {&a_, &b_})
      if (waits(*one)) one->command(CommandKind::kStart);
    run_for(ms(200));
  }
  static void start_again(Host& one, Host& other) {
    for (Host* host : {&one, &other})
      if (host->up()) host->command(CommandKind::kStart);
  }

  void next_fault() {
    if (healed_ || oracle_.violated()) return;
    fault();
    engine_.after(random().between(ms(20), ms(1000)), [this] { next_fault(); });
  }

  // The narrow moments are around a change of the record: look for them.
  void strike_at_grant(const ArbiterRecord& record) {
    if (healed_ || !random().chance(0.15)) return;
    Host& holder = record.holder.node == NodeId::kA ? a_ : b_;
    later(random().between(ms(0), ms(40)), [this, &holder] { fault(holder, random().below(6)); });
  }

  void fault() {
    const std::uint64_t pick = random().next();
    fault(host(pick), random().below(20));
  }

  void fault(Host& victim, std::uint64_t kind) {
    switch (kind) {
      case 0:
        if (options_.scenario == Scenario::kNoCrash) return victim.freeze(random().between(ms(200), ms(1500)));
        victim.kill();
        later(random().between(ms(20), ms(1500)), [&victim] { victim.start(); });
        return;
      case 1:
      case 2:
        return victim.freeze(random().chance(0.3) ? random().between(ms(500), ms(4000)) : random().between(ms(20), ms(600)));
      case 3:
      case 4:
      case 5:
        return disturb_link();
      case 6:
        witness_.set_up(false);
        trace("witness is killed");
        later(random().between(ms(50), ms(2000)), [this] { witness_.set_up(true); });
        return;
      case 7:
      case 8: {
        constexpr ProbePath kPaths[] = {ProbePath::kServiceNic, ProbePath::kStorage, ProbePath::kKernel};
        const ProbePath path = kPaths[random().below(3)];
        victim.set_path(path, false);
        later(random().between(ms(100), ms(2500)), [&victim, path] { victim.set_path(path, true); });
        return;
      }
      case 9:
        victim.set_store(false);
        trace("store hangs");
        later(random().between(ms(50), ms(2000)), [&victim] { victim.set_store(true); });
        return;
      case 10:
        return victim.break_session();
      case 11:
        return victim.command(CommandKind::kSwitchover);
      case 12:
        return victim.command(CommandKind::kTakeover);
      case 13:
        if (options_.scenario == Scenario::kChaos && random().chance(0.1)) victim.fail_next_restore(true);
        return;
      case 14:
        if (random().chance(0.2)) return;
        victim.power_off();
        // The narrow moment is before the epoch in which it ended is acknowledged: look for it.
        if (random().chance(0.8)) later(random().between(ms(0), ms(40)), [this, &victim] { fault(victim, random().below(6)); });
        // The operator asks both: who may, does.
        return later(random().between(ms(200), ms(3000)), [this] { start_again(a_, b_); });
      case 15:
        return victim.reboot_guest();
      case 16:
        if (random().chance(0.5)) victim.break_guest();
        return;
      case 17:
        victim.command(CommandKind::kHold, random().chance(0.5) ? std::optional{random().between(ms(50), ms(2000))} : std::nullopt);
        return later(random().between(ms(100), ms(2000)), [this] { host(random().next()).command(CommandKind::kRelease); });
      case 18:
        victim.command(random().chance(0.7) ? CommandKind::kFence : CommandKind::kFailback);
        return later(random().between(ms(100), ms(2000)), [&victim] { victim.command(CommandKind::kUnfence); });
      case 19:
        victim.command(CommandKind::kUnprotect);
        return later(random().between(ms(100), ms(2000)), [&victim] { victim.command(CommandKind::kProtect); });
    }
  }

  void disturb_link() {
    const auto one = static_cast<Place>(random().below(kPlaces));
    const auto other = static_cast<Place>((static_cast<std::uint64_t>(one) + 1 + random().below(2)) % kPlaces);
    LinkQuality quality;
    quality.cut = random().chance(0.5);
    quality.loss = random().unit() * 0.4;
    quality.repeat = random().unit() * 0.3;
    quality.max_delay = random().chance(0.2) ? random().between(ms(50), ms(1000)) : random().between(ms(1), ms(40));
    const bool both = random().chance(0.5);
    trace("link " + std::to_string(static_cast<int>(one)) + "->" + std::to_string(static_cast<int>(other)) + (both ? " and back" : "") +
          (quality.cut ? " is cut" : " is disturbed"));
    network_.link(one, other) = quality;
    if (both) network_.link(other, one) = quality;
    later(random().between(ms(50), ms(2500)), [this, one, other] {
      network_.link(one, other) = {};
      network_.link(other, one) = {};
    });
  }

  void heal() {
    healed_ = true;
    trace("all faults end");
    network_.heal();
    witness_.set_up(true);
    for (Host* one : {&a_, &b_}) {
      one->set_store(true);
      one->fail_next_restore(false);
      one->set_path(ProbePath::kServiceNic, true);
      one->set_path(ProbePath::kStorage, true);
      one->set_path(ProbePath::kGuestDisk, true);
      one->set_path(ProbePath::kKernel, true);
      one->start();
    }
  }

  // By the record, is there a living image that may run (or does)? A host that is down, switched off by the other a moment ago, has none.
  bool someone_may_run() {
    const auto& record = witness_.state().record;
    if (!record) return true;  // a new pair
    for (Host* one : {&a_, &b_}) {
      if (!one->up()) continue;
      const bool eligible = std::find(record->eligible.begin(), record->eligible.end(), one->self()) != record->eligible.end();
      if (eligible && (one->guest_exists() || one->holds_image())) return true;
      // Bootstrapped, and about to boot.
      if (record->holder == one->self() && oracle_.grants().size() == 1 && one->standing().role == Role::kStarting) return true;
    }
    return false;
  }

  void report() {
    trace(a_.describe());
    trace(b_.describe());
  }

  // manual.cpp
  void manual();
  void operator_looks();
  bool may_take_over(const Host& one, const Host& other) const;
  bool may_go_on_alone(const Host& one, const Host& other) const;

  // single_fault.cpp
  void single_fault();
  void endure();
  bool wait_until_protected();
  void power_off();
  void held();
  void ordered();
  std::string strike();

  const Options options_;
  Engine engine_;
  Network network_;
  Oracle oracle_;
  Witness witness_;
  const bool keeps_image_;
  Host a_;
  Host b_;
  bool healed_ = false;
  bool lost_by_design_ = false;
  std::size_t faults_ = 0;
  std::size_t interruptions_ = 0;
  Duration downtime_{};
};

}  // namespace understudy::sim
