#include "failover/daemon/guest_host.h"

#include "failover/daemon/egress.h"
#include "failover/daemon/guest_side.h"
#include "failover/daemon/on_loop.h"
#include "net/base/log.h"
#include "net/tap.h"

namespace understudy {

namespace {

class Host final : public GuestHost {
 public:
  explicit Host(Dependencies dependencies) : deps_{std::move(dependencies)} {}

  // In the order in which they depend on each other: the machine's devices hold the gate, the gate the port.
  ~Host() override {
    if (session_thread_) {
      static_cast<void>(on_loop(session_thread_->loop(), [this]() -> Result<void> {
        side_.reset();
        return {};
      }));
    }
    session_thread_.reset();
    egress_.reset();
  }

  Result<void> open() {
    const auto& net = deps_.config.net;
    US_ASSIGN(auto tap, Tap::open(net.tap));
    if (!tap->offloads())
      log(Severity::kWarning, "this kernel's taps know no offloads: the guest is offered none, and a peer that has them is refused",
          {{"tap", net.tap}});
    const GuestAddress address{.mac = net.mac, .ipv4 = net.guest_ip, .ipv6 = std::nullopt};
    auto gap = [this](Instant, Duration length) {
      deps_.node_loop.post([this, length] {
        gap_seen_at_ = deps_.clock.now();
        deps_.report(input::LoopGap{length});
      });
    };
    US_ASSIGN(egress_, Egress::start(deps_.clock, std::move(tap), address, {.gap = std::move(gap)}));
    US_ASSIGN(session_thread_, LoopThread::start(deps_.clock, "session"));
    return on_loop(session_thread_->loop(), [this]() -> Result<void> {
      auto report = [this](Input input) { deps_.node_loop.post([this, input = std::move(input)] { deps_.report(input); }); };
      US_ASSIGN(side_, GuestSide::create({.config = deps_.config,
                                          .clock = deps_.clock,
                                          .loop = session_thread_->loop(),
                                          .zmq = deps_.zmq,
                                          .store = deps_.store,
                                          .timeline = deps_.timeline,
                                          .self = deps_.self,
                                          .spoiled = deps_.spoiled,
                                          .console = console_,
                                          .report = std::move(report)},
                                         *egress_));
      return {};
    });
  }

  void carry_out(const action::BootGuest& action) override {
    on_side([term = action.term](GuestSide& side) { side.boot_guest(term); });
  }
  void carry_out(const action::TakeOver& action) override {
    on_side([action](GuestSide& side) { side.take_over(action); });
  }
  void carry_out(const action::FinishGuest&) override {
    on_side([](GuestSide& side) { side.finish_guest(); });
  }
  void carry_out(const action::ResumeGuest& action) override {
    on_side([term = action.term](GuestSide& side) { side.resume_guest(term); });
  }
  void carry_out(const action::RestartGuest& action) override {
    on_side([term = action.term](GuestSide& side) { side.restart_guest(term); });
  }
  void carry_out(const action::RecoverGuest& action) override {
    on_side([term = action.term](GuestSide& side) { side.recover_guest(term); });
  }
  void carry_out(const action::StopGuest& action) override {
    on_side([reason = action.reason](GuestSide& side) { side.stop_guest(reason); });
  }
  void carry_out(const action::StartSession& action) override {
    on_side([action](GuestSide& side) { side.start_session(action); });
  }
  void carry_out(const action::RaiseSessionTerm& action) override {
    on_side([term = action.term](GuestSide& side) { side.raise_session_term(term); });
  }
  void carry_out(const action::StopSession&) override {
    on_side([](GuestSide& side) { side.stop_session(); });
  }
  void carry_out(const action::AcceptSessions& action) override {
    on_side([action](GuestSide& side) { side.accept_sessions(action); });
  }
  void carry_out(const action::RefuseSessions&) override {
    on_side([](GuestSide& side) { side.refuse_sessions(); });
  }
  void carry_out(const action::SetGate& action) override {
    gate_term_ = action.term;
    // Muting does not wait for the session loop, which may stand in a pause or a restore; and what that still has to do for an earlier
    // order must not open the gate again.
    if (action.mode == GateMode::kMute) {
      const std::lock_guard lock{gate_mutex_};
      muted_by_ = action.order;
      egress_->gate()->mute();
    }
    // The node asks for output again after a gap only when a round trip that began after it confirmed the term.
    std::optional<Instant> confirmed_since;
    if (action.mode == GateMode::kPair || action.mode == GateMode::kSolo) confirmed_since = std::exchange(gap_seen_at_, std::nullopt);
    on_side([this, action, confirmed_since](GuestSide& side) {
      const std::lock_guard lock{gate_mutex_};
      if (action.order >= muted_by_) side.set_gate(action, confirmed_since);
    });
  }
  void carry_out(const action::AnnounceAddress&) override {
    deps_.timeline.record("announced", gate_term_);
    egress_->announce();
  }
  void promise(Term promised) override {
    on_side([promised](GuestSide& side) { side.promise(promised); });
  }
  std::shared_ptr<ConsoleBacklog> console() const override { return console_; }
  void type(std::vector<std::byte> input, std::function<void(std::size_t)> taken) override {
    on_side([this, input = std::move(input), taken = std::move(taken)](GuestSide& side) {
      deps_.node_loop.post([taken, count = side.type(input)] { taken(count); });
    });
  }
  void balloon(std::optional<std::uint64_t> target_bytes, std::function<void(const Result<BalloonBytes>&)> told) override {
    on_side([this, target_bytes, told = std::move(told)](GuestSide& side) {
      deps_.node_loop.post([told, balloon = side.balloon(target_bytes)] { told(balloon); });
    });
  }
  void press_power_button(std::function<void(const Result<bool>&)> told) override {
    on_side([this, told = std::move(told)](GuestSide& side) {
      deps_.node_loop.post([told, pressed = side.press_power_button()] { told(pressed); });
    });
  }
  void verify(std::function<void(const Result<Verification>&)> told) override {
    on_side([this, told = std::move(told)](GuestSide& side) {
      side.verify([this, told](Result<Verification> found) { deps_.node_loop.post([told, found = std::move(found)] { told(found); }); });
    });
  }
  void answer(std::function<void()> answered) override {
    on_side([this, answered = std::move(answered)](GuestSide&) { deps_.node_loop.post(answered); });
  }
  GuestNumbers numbers() const override { return side_->numbers(); }
  std::vector<EpochLine> epochs(Epoch from) const override { return side_->epochs(from); }

 private:
  template <class Call>
  void on_side(Call call) {
    session_thread_->loop().post([this, call = std::move(call)] { call(*side_); });
  }

  const Dependencies deps_;
  const std::shared_ptr<ConsoleBacklog> console_ = std::make_shared<ConsoleBacklog>();
  std::unique_ptr<Egress> egress_;
  std::unique_ptr<GuestSide> side_;
  std::unique_ptr<LoopThread> session_thread_;
  std::optional<Instant> gap_seen_at_;  // node's loop: output is not confirmed since
  Term gate_term_;                      // node's loop
  std::mutex gate_mutex_;               // never held for long: setting a mode does not block
  std::uint64_t muted_by_ = 0;          // guarded by gate_mutex_: the latest order to mute
};

}  // namespace

Result<std::unique_ptr<GuestHost>> GuestHost::create(Dependencies dependencies) {
  auto host = std::make_unique<Host>(std::move(dependencies));
  US_TRY(host->open());
  return std::unique_ptr<GuestHost>{std::move(host)};
}

}  // namespace understudy
