// Would a takeover work now? From what a node knows, with what is missing, what would be lost and how long it would take. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "failover/daemon/operator.capnp.h"
#include "failover/node.h"
#include "net/base/clock.h"

namespace understudy {

// What is known on the node that is asked.
struct PreflightFacts {
  NodeId self = NodeId::kA;
  NodeStatus node;
  bool manual = false;                       // no third place
  std::string arbiter;                       // its name, for a person
  std::optional<Duration> arbiter_answered;  // it answered a question asked now, after so long; nullopt: it did not
  std::string arbiter_trouble;               // why not
  std::optional<ArbiterRecord> record;       // what it said
  Duration detect{};                         // by the configuration: a silent primary is taken over after so long
  std::optional<Duration> restore;           // from grant to running guest, in this process's latest takeover
  std::uint64_t waiting_frames = 0;          // of the guest's output, not committed yet
};

enum class PreflightAnswer : std::uint8_t { kYes, kNo, kCannotTell };

struct PreflightCheck {
  enum class Grade : std::uint8_t { kGood, kNoted, kUnknown, kBad } grade = Grade::kGood;
  std::string found;
  std::string mend;  // what to do; empty where nothing is
};

struct Preflight {
  PreflightAnswer answer = PreflightAnswer::kNo;
  std::optional<NodeId> by{};                                // who would take over
  std::string lost{};                                        // what nobody would see again
  std::optional<Duration> detect{}, arbitrate{}, restore{};  // nullopt: not known here
  std::vector<PreflightCheck> checks{};
};

Preflight judge_preflight(const PreflightFacts& facts);

void write_preflight(const Preflight& preflight, schema::Preflight::Builder out);
// For a person: the answer first, then each check on a line.
std::string preflight_as_text(schema::Preflight::Reader preflight);
std::string preflight_as_json(schema::Preflight::Reader preflight);

}  // namespace understudy
