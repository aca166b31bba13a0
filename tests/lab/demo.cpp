#include "tests/lab/demo.h"

#include <cstring>
#include <map>
#include <thread>

#include <fmt/format.h>

#include "tests/lab/disk_log.h"
#include "tests/lab/kv_client.h"
#include "tests/lab/wire_tap.h"

namespace understudy::lab {

namespace {

constexpr Duration kProtectedDeadline = std::chrono::seconds{40};
constexpr Duration kFinishDeadline = std::chrono::seconds{10};
constexpr Duration kSettleDeadline = std::chrono::seconds{10};
constexpr Duration kPace = std::chrono::microseconds{500};
constexpr std::uint64_t kLogSlots = 65'536;  // all of a run's changes, at the client's pace

}  // namespace

Result<Outcome> Demo::run() {
  auto pair_options = options_.pair;
  pair_options.guest_options += fmt::format(" log=1 log_sectors={}", kLogSlots);
  const Instant started_at = clock_.now();
  US_ASSIGN(pair_, LabPair::start(clock_, std::move(pair_options)));
  say_("lab: host-a, host-b, client and witness are up; host-a boots the guest");
  US_ASSIGN(const auto at_start, pair_->wait_until_protected(kProtectedDeadline));
  say_(fmt::format("protected after {:.1f} s: term {}, epoch {}", to_ms(clock_.now() - started_at) / 1000, at_start.term.raw(),
                   at_start.committed_epoch.raw()));

  US_ASSIGN(auto wire, WireTap::start(clock_, {"a-svc", "b-svc"}, kGuestMac));
  US_ASSIGN(auto client, KvClient::start(clock_, "client", kGuestIp, {.pace = kPace}));
  US_TRY(stay(options_.before, std::nullopt, nullptr));
  if (client->acknowledged() == 0)
    return Error{ErrorCode::kUnavailable, fmt::format("the guest answered nothing in {:.0f} s; the daemons' last words:\n{}",
                                                      to_ms(options_.before) / 1000, pair_->logs(15))};
  say_(fmt::format("client: {} requests acknowledged in {:.1f} s", client->acknowledged(), to_ms(options_.before) / 1000));
  if (const auto status = pair_->status(NodeId::kA))
    say_(fmt::format("epochs: pause {:.1f} ms (p99 {:.1f}), {} dirty pages, ack after {:.1f} ms",
                     static_cast<double>(status->pause_median_us) / 1000, static_cast<double>(status->pause_p99_us) / 1000,
                     status->dirty_pages, static_cast<double>(status->ack_us) / 1000));

  Outcome outcome;
  US_TRY(strike_and_watch(outcome));
  client->finish(kFinishDeadline);
  wait_until_settled(outcome);
  wire->stop();

  const auto& workload = client->workload();
  outcome.unanswered = workload.unanswered();
  outcome.history = judge_history(workload.replies(), outcome.unanswered);
  std::map<std::uint64_t, const guest::KvReply*> acknowledged;
  for (const auto& reply : workload.replies()) acknowledged.emplace(reply.reply.sequence, &reply.reply);
  outcome.speakers = judge_speakers(wire->frames(), [&](const guest::KvReply& reply) {
    const auto found = acknowledged.find(reply.sequence);
    return found != acknowledged.end() && std::memcmp(found->second, &reply, sizeof reply) == 0;
  });
  outcome.frames_missed = wire->missed();
  summarize_replies(outcome, workload.replies(), client->reading_back_since());
  if (const auto last = survivor(outcome)) {
    US_ASSIGN(const auto disk, judge_disk_log(pair_->disk(*last), kLogSlots, workload.replies()));
    outcome.log_records_checked = disk.checked;
    outcome.log_records_missing = disk.missing;
  }
  return outcome;
}

Result<void> Demo::strike_and_watch(Outcome& outcome) {
  outcome.fault = options_.fault;
  say_(fmt::format("fault: {}: {}", name_of(options_.fault), describe(options_.fault)));
  outcome.fault_at = clock_.now();
  US_TRY(strike(options_.fault, *pair_, clock_));
  if (options_.fault == Fault::kFreeze) {
    US_TRY(stay(options_.freeze, kills(options_.fault), &outcome));
    outcome.thawed_at = clock_.now();
    thaw(*pair_);
    say_(fmt::format("host-a wakes up after {:.0f} s", to_ms(options_.freeze) / 1000));
  }
  return stay(options_.after, kills(options_.fault), &outcome);
}

// Lets time pass while everything is supposed to live. Before the fault a death ends the run; after it, it is part of the outcome.
Result<void> Demo::stay(Duration duration, std::optional<NodeId> struck, Outcome* outcome) const {
  const Instant until = clock_.now() + duration;
  while (clock_.now() < until) {
    if (auto alive = pair_->check_alive(struck); !alive) {
      if (outcome == nullptr) return std::move(alive.error());
      if (outcome->background.empty()) outcome->background = alive.error().text();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
  }
  return {};
}

// Until one host says that it runs the guest and the other that it does not (where it lives: that it is fenced, if it was frozen).
void Demo::wait_until_settled(Outcome& outcome) const {
  const Instant give_up_at = clock_.now() + kSettleDeadline;
  do {
    for (const NodeId id : {NodeId::kA, NodeId::kB}) {
      auto& place = outcome.statuses[static_cast<std::size_t>(id)];
      place.reset();
      if (pair_->node(id).ending()) continue;
      if (auto status = pair_->status(id)) place = std::move(*status);
    }
    const auto& host_a = outcome.statuses[static_cast<std::size_t>(NodeId::kA)];
    const bool woken_is_fenced = options_.fault != Fault::kFreeze || (host_a && host_a->role == "fenced");
    if (survivor(outcome) && woken_is_fenced) return;
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
  } while (clock_.now() < give_up_at);
}

}  // namespace understudy::lab
