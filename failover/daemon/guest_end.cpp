// A guest that ended by itself: started anew over the same memory, or over. On the session's loop.
#include "failover/daemon/guest_end.h"

#include <ctime>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "failover/daemon/guest_side.h"

namespace understudy {

namespace {

// Without the details, which are in the log.
std::string what_happened(MachineEventKind kind) {
  switch (kind) {
    case MachineEventKind::kPowerOff:
      return "the guest powered off";
    case MachineEventKind::kReset:
      return "the guest reset itself";
    case MachineEventKind::kTripleFault:
      return "the guest crashed (triple fault)";
    case MachineEventKind::kPanic:
      return "the guest panicked";
    case MachineEventKind::kInternalError:
      return "KVM gave up on the guest";
  }
  return "the guest ended";
}

}  // namespace

std::string at_time_of_day(const std::string& what) {
  return fmt::format("{} at {:%Y-%m-%d %H:%M:%S} UTC", what, fmt::gmtime(std::time(nullptr)));
}

void GuestSide::guest_ended(const MachineEvent& event) {
  if (event.kind == MachineEventKind::kInternalError && broken_.empty()) {
    // Whether the peer goes on with it is the node's to decide.
    broken_ = event.text;
    show_guest("failed here: " + event.text);
    deps_.report(input::GuestBroken{event.text});
    return;
  }
  broken_.clear();
  const std::string what = at_time_of_day(what_happened(event.kind));
  const auto decision = restarts_.ended(event.kind, now());
  if (!decision.reboot) return stay_ended(decision.why.empty() ? what : what + ", and stays down: " + decision.why);
  if (auto started = start_anew(); !started) return stay_ended(what + ", and could not be started again: " + started.error().text());
  const std::string note = fmt::format("{}, and was rebooted (reboot {} here)", what, ++reboots_);
  log(Severity::kWarning, "guest rebooted", {{"what", note}});
  deps_.report(input::GuestNoted{note});
}

// Its memory stays, as on a machine that is reset: what it and boot() wrote is in the next epoch, at whose end it runs.
Result<void> GuestSide::start_anew() {
  US_TRY(machine_->reboot());
  restarts_.started(now());
  show_guest("running");
  if (!primary_) return machine_->resume();
  auto resumed = primary_->resume_rebooted(now());
  rearm();
  return resumed;
}

void GuestSide::stay_ended(std::string ended) {
  if (auto accepted = machine_->accept_end(ended); !accepted)
    log(Severity::kError, "guest's end not accepted", {{"reason", accepted.error().text()}});
  show_guest(ended);
  // Output that it sent before leaves as ever, with its epoch.
  with_primary([&](PrimarySession& session) { session.guest_ended(now()); });
  deps_.report(input::GuestStopped{std::move(ended)});
}

void GuestSide::restart_guest(Term term) {
  const auto was = machine_->ended();
  if (auto started = start_anew(); !started) {
    // Over as before; its memory may hold half a kernel, which the next start loads again.
    if (was && !machine_->ended()) static_cast<void>(machine_->accept_end(*was));
    deps_.report(input::GuestFailed{term, started.error().text()});
    return;
  }
  broken_.clear();
  deps_.report(input::GuestRunning{term});
}

Result<bool> GuestSide::press_power_button() {
  if (!machine_) return Error{ErrorCode::kUnavailable, "no machine runs here; restart this daemon"};
  if (const auto event = machine_->event()) return Error{ErrorCode::kUnavailable, "the guest has just ended by itself: " + event->text};
  return machine_->press_power_button();
}

void GuestSide::recover_guest(Term term) {
  if (broken_.empty()) return;
  guest_ended({MachineEventKind::kInternalError, 0, broken_});
  if (!machine_->ended()) deps_.report(input::GuestRunning{term});
}

}  // namespace understudy
