#include "tests/lab/demo.h"

#include <thread>

#include <fmt/format.h>

#include "tests/lab/wire_tap.h"

namespace understudy::lab {

namespace {

constexpr Duration kProtectedDeadline = std::chrono::seconds{40};
constexpr Duration kFinishDeadline = std::chrono::seconds{10};
constexpr Duration kSettleDeadline = std::chrono::seconds{10};
constexpr Duration kServiceDeadline = std::chrono::seconds{60};
constexpr Duration kRefusedDeadline = std::chrono::seconds{5};
constexpr Duration kStartDeadline = std::chrono::seconds{10};
constexpr Duration kVerdictDeadline = std::chrono::seconds{15};
constexpr Duration kVerifyDeadline = std::chrono::seconds{60};

bool names_the_end(Fault fault, const NodeStatus& status) {
  const auto says = [&](const char* words) { return status.guest.find(words) != std::string::npos; };
  if (fault == Fault::kGuestReboot) return says("the guest reset itself") && says("was rebooted");
  if (fault == Fault::kGuestCrash) return says("the guest crashed (triple fault)") && says("was rebooted");
  return !status.ended.empty() && says("the guest powered off") && says("it is not revived");
}

}  // namespace

Result<Outcome> Demo::run() {
  auto pair_options = options_.pair;
  US_ASSIGN(pair_options.guest, service_->image());
  pair_options.reboot_on_reset = options_.fault == Fault::kGuestReboot;
  pair_options.reboot_on_crash = options_.fault == Fault::kGuestCrash;
  pair_options.ailing = ailing_folder(options_.fault);
  pair_options.ailing_host = options_.struck;
  const Instant started_at = clock_.now();
  US_ASSIGN(pair_, LabPair::start(clock_, std::move(pair_options)));
  say_("lab: host-a, host-b, client and arbiter are up; host-a boots the guest");
  US_ASSIGN(const auto at_start, pair_->wait_until_protected(here(kProtectedDeadline)));
  say_(fmt::format("protected after {:.1f} s: term {}, epoch {}", to_ms(clock_.now() - started_at) / 1000, at_start.term.raw(),
                   at_start.committed_epoch.raw()));

  US_ASSIGN(auto wire, WireTap::start(clock_, {"a-svc", "b-svc"}, kGuestMac));
  if (auto started = service_->start(*pair_, here(kServiceDeadline)); !started)
    return Error{ErrorCode::kUnavailable, fmt::format("{}; the daemons' last words:\n{}", started.error().text(), pair_->logs(15))};
  US_TRY(stay(before(), nullptr));
  if (service_->acknowledged() == 0)
    return Error{ErrorCode::kUnavailable, fmt::format("the guest answered nothing in {:.0f} s; the daemons' last words:\n{}",
                                                      to_ms(before()) / 1000, pair_->logs(15))};
  say_(fmt::format("client: {} requests acknowledged in {:.1f} s", service_->acknowledged(), to_ms(before()) / 1000));
  if (const auto status = pair_->status(NodeId::kA))
    say_(fmt::format("epochs: pause {:.1f} ms (p99 {:.1f}), {} dirty pages, ack after {:.1f} ms",
                     static_cast<double>(status->pause_median_us) / 1000, static_cast<double>(status->pause_p99_us) / 1000,
                     status->dirty_pages, static_cast<double>(status->ack_us) / 1000));

  Outcome outcome;
  US_TRY(strike_and_watch(outcome));
  compare(outcome);
  service_->finish(here(kFinishDeadline));
  wait_until_settled(outcome);
  replay(outcome);
  wire->stop();
  outcome.frames_missed = wire->missed();
  US_TRY(service_->judge(*pair_, *wire, outcome));
  return outcome;
}

Duration Demo::before() const {
  const auto detection = detection_of(options_.fault);
  return here(std::max(options_.before, detection ? detection->history : Duration{0}));
}

Result<void> Demo::strike_and_watch(Outcome& outcome) {
  outcome.fault = options_.fault;
  outcome.struck = options_.struck;
  say_(fmt::format("fault: {}: {}", name_of(options_.fault), describe(options_.fault, options_.struck)));
  outcome.fault_at = clock_.now();
  US_TRY(strike(options_.fault, options_.struck, *pair_, *service_, clock_));
  if (detection_of(options_.fault)) wait_for_the_verdict(outcome);
  if (starts_afresh(options_.fault)) watch_the_end(outcome);
  if (options_.fault == Fault::kDaemonStop) {
    US_TRY(stay(here(options_.freeze), &outcome));
    outcome.thawed_at = clock_.now();
    thaw(options_.struck, *pair_);
    say_(fmt::format("{} wakes up after {:.0f} s", kHosts[static_cast<std::size_t>(options_.struck)], to_ms(here(options_.freeze)) / 1000));
  }
  if (options_.fault == Fault::kIntruder) let_the_intruder_try(outcome);
  if (options_.fault == Fault::kArbiterRestart) US_TRY(bring_the_arbiter_back(outcome));
  if (options_.fault == Fault::kLinksBack) US_TRY(bring_the_links_back(outcome));
  if (options_.fault == Fault::kRoughTimes) US_TRY(live_through_rough_times(outcome));
  return stay(here(options_.after), &outcome);
}

Result<void> Demo::live_through_rough_times(Outcome& outcome) const {
  auto& rough = outcome.rough.emplace();
  const auto acknowledged = service_->acknowledged();
  US_ASSIGN(const auto times, RoughTimes::start(clock_, {}));
  US_TRY(stay(options_.rough, &outcome));
  US_ASSIGN(rough.figures, times->stop());
  rough.acknowledged_meanwhile = service_->acknowledged() - acknowledged;
  for (const NodeId id : kBothNodes) {
    US_ASSIGN(const auto events, pair_->events(id));
    for (const NodeEvent& event : events) {
      if (event.at < outcome.fault_at) continue;
      if (verdict_on_peer({&event, 1}, outcome.fault_at)) ++rough.verdicts;
      if (event.kind == "role" && event.text.starts_with("solo")) ++rough.alone;
    }
  }
  return {};
}

// What the other host finds, and what its status then says of it.
void Demo::wait_for_the_verdict(Outcome& outcome) const {
  const NodeId observer = peer_of(options_.struck);
  const Instant give_up_at = clock_.now() + here(kVerdictDeadline);
  while (!outcome.verdict && clock_.now() < give_up_at) {
    if (const auto events = pair_->events(observer)) outcome.verdict = verdict_on_peer(*events, outcome.fault_at);
    if (!outcome.verdict) std::this_thread::sleep_for(std::chrono::milliseconds{200});
  }
  if (const auto status = pair_->status(observer)) outcome.verdict_told = status->peer_verdict;
}

Result<void> Demo::bring_the_arbiter_back(Outcome& outcome) {
  auto& away = outcome.arbiter.emplace();
  if (const auto status = pair_->status(NodeId::kA)) away.term_before = status->term;
  const auto acknowledged = service_->acknowledged();
  US_TRY(stay(here(options_.away), &outcome));
  away.acknowledged_meanwhile = service_->acknowledged() - acknowledged;
  US_TRY(pair_->arbiter().restart());
  away.back_at = clock_.now();
  const auto record = pair_->arbiter().show();
  away.record_after = record ? *record : record.error().text();
  while (away.record_after.ends_with('\n')) away.record_after.pop_back();
  say_("the arbiter is back: " + away.record_after);
  return {};
}

// Long enough that what the other host lacks is no longer kept, and the guest has gone on alone.
Result<void> Demo::bring_the_links_back(Outcome& outcome) {
  auto& resync = outcome.resync.emplace();
  US_TRY(stay(here(options_.links_away), &outcome));
  if (const auto status = pair_->status(NodeId::kA)) resync.role_meanwhile = status->role;
  US_TRY(restore_links(options_.struck, clock_));
  const Instant back_at = clock_.now();
  US_ASSIGN(const auto status, pair_->wait_until_protected(here(kProtectedDeadline)));
  resync.took = clock_.now() - back_at;
  resync.kind = status.transfer_kind;
  resync.sent_bytes = status.transfer_sent_bytes;
  say_(fmt::format("the links are back: protected again after {:.1f} s, by {}: {:.1f} MiB sent", to_ms(resync.took) / 1000, resync.kind,
                   static_cast<double>(resync.sent_bytes) / (1 << 20)));
  return {};
}

// Every attempt at every port, and each must be told of by who listens there.
void Demo::let_the_intruder_try(Outcome& outcome) const {
  auto& intrusion = outcome.intrusion.emplace();
  const auto refused_at = [this](const Port& port) {
    if (port.what == "witness") return pair_->arbiter().refusals();
    const auto status = pair_->status(NodeId::kA);
    return status ? Refusals{.count = status->links_refused, .last = status->links_last_refused} : Refusals{};
  };
  if (const auto status = pair_->status(NodeId::kA)) intrusion.term_before = status->term;
  for (const Port& port : pair_->ports()) {
    for (const Attempt attempt : all_attempts()) {
      const auto before = refused_at(port);
      const auto tried = try_at(port, attempt, pair_->keys().of(NodeId::kB));
      auto after = refused_at(port);
      for (const Instant give_up_at = clock_.now() + here(kRefusedDeadline); after.count <= before.count && clock_.now() < give_up_at;) {
        std::this_thread::sleep_for(std::chrono::milliseconds{50});
        after = refused_at(port);
      }
      const bool refused = tried && after.count > before.count;
      intrusion.tried.push_back({.what = name_of(attempt), .where = port.what, .told = refused ? after.last : ""});
      say_(fmt::format("intruder: {} at {}: {}", name_of(attempt), port.what,
                       !tried    ? tried.error().text()
                       : refused ? after.last
                                 : "NOT REFUSED"));
    }
  }
  // With a key that is admitted, but the news of yesterday.
  const auto seeded = pair_->arbiter().try_seed(Term{1});
  intrusion.tried.push_back({.what = "an old term", .where = "arbiter", .told = seeded ? "" : seeded.error().text()});
}

// The guest's own end: both hosts name it, and where it stays over, nobody revives it before an operator starts it.
void Demo::watch_the_end(Outcome& outcome) const {
  outcome.ending.emplace();
  wait_until_told(outcome);
  for (const NodeId id : kBothNodes)
    say_(fmt::format("{} says: {}", kHosts[static_cast<std::size_t>(id)], outcome.ending->told[static_cast<std::size_t>(id)]));
  if (!stays_over(options_.fault)) return;
  leave_alone(outcome);
  const Instant started_at = clock_.now();
  if (auto started = pair_->command(NodeId::kA, {"start"}, kStartDeadline); !started) {
    outcome.background = started.error().text();
    return;
  }
  outcome.ending->started_at = started_at;
  say_("understudy start on host-a: the guest is started again");
  if (const auto again = pair_->wait_until_protected(here(kProtectedDeadline)); !again) outcome.background = again.error().text();
}

void Demo::wait_until_told(Outcome& outcome) const {
  const Instant give_up_at = clock_.now() + here(kSettleDeadline);
  const auto told = [&](NodeId id) -> std::string& { return outcome.ending->told[static_cast<std::size_t>(id)]; };
  while (clock_.now() < give_up_at && (told(NodeId::kA).empty() || told(NodeId::kB).empty())) {
    for (const NodeId id : kBothNodes) {
      const auto status = pair_->status(id);
      if (status && told(id).empty() && names_the_end(options_.fault, *status)) told(id) = status->guest;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
  }
}

void Demo::leave_alone(Outcome& outcome) const {
  const Instant until = clock_.now() + here(options_.over);
  while (clock_.now() < until) {
    for (const NodeId id : kBothNodes) {
      const auto status = pair_->status(id);
      const char* const role = id == NodeId::kA ? "primary" : "secondary";
      if (outcome.ending->not_left_alone.empty() && (!status || status->role != role || status->ended.empty()))
        outcome.ending->not_left_alone = fmt::format("while the guest was over, {} said: {}", kHosts[static_cast<std::size_t>(id)],
                                                     status ? fmt::format("{}, {}", status->role, status->guest) : status.error().text());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
  }
}

// Lets time pass while everything is supposed to live. Before the fault a death ends the run; after it, it is part of the outcome.
Result<void> Demo::stay(Duration duration, Outcome* outcome) const {
  const Instant until = clock_.now() + duration;
  const auto struck = outcome != nullptr && kills(options_.fault) ? std::optional{options_.struck} : std::nullopt;
  while (clock_.now() < until) {
    if (auto alive = pair_->check_alive(struck); !alive) {
      if (outcome == nullptr) return std::move(alive.error());
      if (outcome->background.empty()) outcome->background = alive.error().text();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
  }
  return {};
}

// Until one host says that it runs the guest and the other that it does not (where it lives: that it is fenced, if it was frozen), and a
// guest that started afresh is protected again.
void Demo::wait_until_settled(Outcome& outcome) const {
  const Instant give_up_at = clock_.now() + here(kSettleDeadline);
  do {
    for (const NodeId id : kBothNodes) {
      auto& place = outcome.statuses[static_cast<std::size_t>(id)];
      place.reset();
      if (pair_->node(id).ending()) continue;
      if (auto status = pair_->status(id)) place = std::move(*status);
    }
    const auto& host_a = outcome.statuses[static_cast<std::size_t>(NodeId::kA)];
    const bool woken_is_fenced =
        options_.fault != Fault::kDaemonStop || options_.struck != NodeId::kA || (host_a && host_a->role == "fenced");
    const bool protected_again = detection_of(options_.fault) || guest_then(options_.fault, options_.struck) != GuestThen::kStays ||
                                 kills(options_.fault) || (host_a && host_a->is_protected);
    if (survivor(outcome) && woken_is_fenced && protected_again) return;
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
  } while (clock_.now() < give_up_at);
}

// Under load still: where the pair is protected after all, both hosts hold the same.
void Demo::compare(Outcome& outcome) const {
  for (const NodeId id : kBothNodes) {
    if (pair_->node(id).ending()) continue;
    const auto status = pair_->status(id);
    if (!status || !status->is_protected || !status->runs_the_guest()) continue;
    if (auto said = pair_->verify(id, here(kVerifyDeadline)))
      outcome.compared = std::move(*said);
    else
      outcome.not_the_same = said.error().text();
  }
}

// What the living daemons decided, once more: their flight recorders must give the same.
void Demo::replay(Outcome& outcome) const {
  for (const NodeId id : kBothNodes) {
    const bool unreadable = ailing_folder(options_.fault) == AilingFolder::kState && id == options_.struck;
    if (pair_->node(id).ending() || unreadable) continue;
    if (auto said = pair_->replay(id))
      outcome.replayed[static_cast<std::size_t>(id)] = std::move(*said);
    else
      outcome.not_replayed.push_back(said.error().text());
  }
}

}  // namespace understudy::lab
