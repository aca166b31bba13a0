#include "tests/explore/explorer.h"

namespace understudy::explore {
namespace {

// Thresholds of one to six ticks: each is passed soon, and in each order.
NodeConfig few_ticks() {
  NodeConfig config;
  config.heartbeat_every = kTickLength;
  config.takeover_after = kTickLength;
  config.solo_after = kTickLength;
  config.stalled_after = 5 * kTickLength;
  config.sick_hold = kTickLength;
  config.evidence_max_age = 2 * kTickLength;
  config.arbiter_retry = kTickLength;
  config.store_retry = kTickLength;
  config.session_retry = kTickLength;
  config.gap_after = kTickLength;
  config.handover_deadline = 3 * kTickLength;
  config.rejoin_after = kTickLength;
  return config;
}

struct Costs {
  Cost cost;
  std::uint8_t count;
};

Bounds bounds(std::uint8_t horizon, std::initializer_list<Costs> costs) {
  Bounds bounds;
  bounds.horizon = horizon;
  for (const auto& [cost, count] : costs) bounds.budget[static_cast<std::size_t>(cost)] = count;
  return bounds;
}

std::vector<Scenario> make_scenarios() {
  using enum Cost;
  return {
      {"new", "a new pair's start", Root::kNewPair,
       bounds(6, {{kFault, 2},
                  {kLoss, 1},
                  {kDelay, 1},
                  {kRepeat, 1},
                  {kCrash, 1},
                  {kArbiterCrash, 1},
                  {kStoreFailure, 1},
                  {kOutput, 1},
                  {kCapture, 3}}),
       few_ticks()},
      {"cut", "links cut and healed under a protected pair", Root::kProtected,
       bounds(8, {{kFault, 2}, {kCut, 2}, {kOutput, 1}, {kCapture, 1}}), few_ticks()},
      {"crash", "crashes and restarts", Root::kProtected,
       bounds(8, {{kFault, 2}, {kCrash, 2}, {kArbiterCrash, 1}, {kOutput, 1}, {kCapture, 1}}), few_ticks()},
      {"stop", "a node stands still", Root::kProtected, bounds(8, {{kFault, 2}, {kStop, 2}, {kCrash, 1}, {kOutput, 1}, {kCapture, 1}}),
       few_ticks()},
      {"mixed", "any faults", Root::kProtected,
       bounds(7, {{kFault, 2},
                  {kLoss, 2},
                  {kDelay, 2},
                  {kRepeat, 2},
                  {kCut, 2},
                  {kCrash, 2},
                  {kStop, 2},
                  {kArbiterCrash, 2},
                  {kStoreFailure, 2},
                  {kPathFailure, 2},
                  {kBreak, 2},
                  {kFullResync, 1},
                  {kOutput, 1},
                  {kCapture, 1}}),
       few_ticks()},
  };
}

}  // namespace

const std::vector<Scenario>& scenarios() {
  static const std::vector<Scenario> all = make_scenarios();
  return all;
}

const Scenario* find_scenario(const std::string& name) {
  for (const Scenario& scenario : scenarios())
    if (scenario.name == name) return &scenario;
  return nullptr;
}

}  // namespace understudy::explore
