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
  config.storage_max_age = 2 * kTickLength;
  config.doubt_hold = 2 * kTickLength;
  config.hold_down = 2 * kTickLength;
  config.arbiter_retry = kTickLength;
  config.store_retry = kTickLength;
  config.session_retry = kTickLength;
  config.gap_after = kTickLength;
  config.handover_deadline = 3 * kTickLength;
  config.order_patience = 3 * kTickLength;
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
  const auto with_commands = [](Bounds bounds, std::vector<CommandKind> commands) {
    bounds.commands = std::move(commands);
    return bounds;
  };
  NodeConfig keeps_image = few_ticks();
  keeps_image.switchover_keeps_image = true;
  const NodeConfig few = few_ticks();
  return {
      {"new", "a new pair's start", Root::kNewPair,
       bounds(3, {{kFault, 1}, {kLoss, 1}, {kDelay, 1}, {kRepeat, 1}, {kCrash, 1}, {kArbiterCrash, 1}, {kStoreFailure, 1}, {kOutput, 1}}),
       few},
      {"cut", "links cut and healed under a protected pair", Root::kProtected,
       bounds(5, {{kFault, 2}, {kCut, 2}, {kOutput, 1}, {kCapture, 1}}), few},
      {"crash", "a node crashes, and starts again", Root::kProtected, bounds(5, {{kFault, 1}, {kCrash, 1}, {kOutput, 1}, {kCapture, 1}}),
       few},
      {"arbiter", "the arbiter crashes while the pair's link is cut", Root::kProtected,
       bounds(4, {{kFault, 2}, {kArbiterCrash, 1}, {kCut, 1}, {kOutput, 1}}), few},
      {"stop", "a node stands still while the others go on", Root::kProtected,
       bounds(5, {{kFault, 1}, {kStop, 1}, {kOutput, 1}, {kCapture, 1}}), few},
      {"messages", "messages lost, delayed, repeated and overtaken while a node stands still", Root::kProtected,
       bounds(4, {{kFault, 2}, {kLoss, 1}, {kDelay, 1}, {kRepeat, 1}, {kStop, 1}, {kOutput, 1}}), few},
      {"store", "writes that come late or fail, and a crash", Root::kProtected,
       bounds(4, {{kFault, 3}, {kDelay, 1}, {kStoreFailure, 1}, {kCut, 1}, {kCrash, 1}, {kOutput, 1}}), few},
      {"path", "probes that fail or hang", Root::kProtected,
       bounds(5, {{kFault, 2}, {kPathFailure, 1}, {kCut, 1}, {kBreak, 1}, {kOutput, 1}}), few},
      {"half", "from solo to protected, with any one fault", Root::kHalfWay,
       bounds(4, {{kFault, 1},
                  {kLoss, 1},
                  {kDelay, 1},
                  {kRepeat, 1},
                  {kCut, 1},
                  {kCrash, 1},
                  {kStop, 1},
                  {kArbiterCrash, 1},
                  {kStoreFailure, 1},
                  {kPathFailure, 1},
                  {kBreak, 1},
                  {kOutput, 1},
                  {kCapture, 3}}),
       few},
      {"solo", "a node that comes back to a solo one", Root::kSolo,
       bounds(3, {{kFault, 1}, {kCut, 1}, {kCrash, 1}, {kStop, 1}, {kBreak, 1}, {kOutput, 1}, {kCapture, 2}}), few},
      {"switchover", "an operator's command, with any one fault", Root::kProtected,
       bounds(4, {{kFault, 1},
                  {kLoss, 1},
                  {kDelay, 1},
                  {kCut, 1},
                  {kCrash, 1},
                  {kStop, 1},
                  {kPathFailure, 1},
                  {kBreak, 1},
                  {kCommand, 1},
                  {kOutput, 1}}),
       few},
      {"switchover-keeping", "the same, with an image that the old primary keeps", Root::kProtected,
       bounds(4, {{kFault, 1},
                  {kLoss, 1},
                  {kDelay, 1},
                  {kCut, 1},
                  {kCrash, 1},
                  {kStop, 1},
                  {kFullResync, 1},
                  {kCommand, 1},
                  {kOutput, 1},
                  {kCapture, 1}}),
       keeps_image},
      {"hold", "a hold and its end, with any one fault", Root::kProtected,
       with_commands(bounds(4, {{kFault, 1}, {kLoss, 1}, {kDelay, 1}, {kCut, 1}, {kCrash, 1}, {kStop, 1}, {kCommand, 2}, {kOutput, 1}}),
                     {CommandKind::kHold, CommandKind::kRelease, CommandKind::kTakeover}),
       few},
      {"fence", "a node is fenced and let in again, with any one fault", Root::kProtected,
       with_commands(
           bounds(4,
                  {{kFault, 1}, {kLoss, 1}, {kDelay, 1}, {kCut, 1}, {kCrash, 1}, {kStop, 1}, {kCommand, 2}, {kOutput, 1}, {kCapture, 1}}),
           {CommandKind::kFence, CommandKind::kUnfence}),
       keeps_image},
      {"alone", "a primary goes on alone on purpose, and takes its peer again", Root::kProtected,
       with_commands(
           bounds(4,
                  {{kFault, 1}, {kLoss, 1}, {kDelay, 1}, {kCut, 1}, {kCrash, 1}, {kStop, 1}, {kCommand, 2}, {kOutput, 1}, {kCapture, 1}}),
           {CommandKind::kUnprotect, CommandKind::kProtect}),
       few},
      {"any", "any two faults on a protected pair", Root::kProtected,
       bounds(5, {{kFault, 2},
                  {kLoss, 2},
                  {kDelay, 2},
                  {kRepeat, 2},
                  {kCut, 2},
                  {kCrash, 2},
                  {kStop, 2},
                  {kArbiterCrash, 1},
                  {kStoreFailure, 2},
                  {kPathFailure, 2},
                  {kBreak, 2},
                  {kFullResync, 1},
                  {kOutput, 1},
                  {kCapture, 1}}),
       few},
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
