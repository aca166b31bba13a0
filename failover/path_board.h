// What all probes of this host say, joined to one report a path: several probes may look at the same path. Pure.
#pragma once

#include <string>
#include <vector>

#include "failover/probe.h"

namespace understudy {

class PathBoard {
 public:
  struct Entry {
    std::string probe;   // "canary in /var/lib/understudy"; unique together with the path
    bool proves = true;  // exercises the path: only such a probe's times count as the path's
    ProbeReport report;  // the latest; kUnknown before the first
  };

  // From now on `probe` looks at the path: until it has said something, the path is not healthy.
  void expect(const std::string& probe, ProbePath path, bool proves, Instant now);
  // What `probe` says of report.path; one that nobody expected is added, and proves nothing.
  void put(const std::string& probe, ProbeReport report);

  // The worst that is said of the path, in the words of those who say it. Its times are the oldest of those who prove it: as of then, all
  // did.
  ProbeReport path(ProbePath path) const;
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  Entry* find(const std::string& probe, ProbePath path);

  std::vector<Entry> entries_;
};

}  // namespace understudy
