// Looks a host over for what a node of a pair needs, before or while it runs one: each finding with its mend.
//
// It changes nothing but the storage probe's canary in the state directory. A check may block for as long as a disk or driver does: each
// finding is told as it is made, so that a person sees where it stands.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "failover/daemon/config.h"

namespace understudy {

enum class Grade : std::uint8_t {
  kGood,
  kWarning,  // works, with a weakness
  kBad,      // a node can't run here, or not take over
};
const char* name_of(Grade grade);

struct Finding {
  Grade grade = Grade::kGood;
  std::string part;   // what was looked at: "KVM", "tap"
  std::string found;  // a clause for a person
  std::string mend;   // what to do; empty when good, or when only the kernel's log can tell
};

// Where the kernel shows itself; tests make their own.
struct HostPaths {
  std::filesystem::path kvm = "/dev/kvm";
  std::filesystem::path proc = "/proc";
  std::filesystem::path sys = "/sys";
};

void examine_host(const DaemonConfig& config, const HostPaths& paths, const std::function<void(const Finding&)>& told);

// One aligned line, with the mend on a line of its own.
std::string finding_as_text(const Finding& finding);
// A JSON list of {"grade", "part", "found", "mend"}.
std::string findings_as_json(const std::vector<Finding>& findings);

}  // namespace understudy
