// The probes of this host, as configured: which paths there are, and the processes that exercise them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "failover/daemon/config.h"
#include "failover/probe_process.h"

namespace understudy {

// Loop-owned.
class Probes {
 public:
  // What this host is judged by: these processes, and the guest's own disk requests (disk_health.h) where it has disks.
  static std::vector<ProbePath> paths(const DaemonConfig& config) {
    std::vector<ProbePath> paths{ProbePath::kServiceNic, ProbePath::kStorage};
    if (!config.disks.empty()) paths.push_back(ProbePath::kGuestDisk);
    return paths;
  }
  // Exercises every path from now on, each in a process of its own.
  static Result<std::unique_ptr<Probes>> start(EventLoop& loop, const DaemonConfig& config, ProbeProcess::Report report);

 private:
  std::vector<std::unique_ptr<ProbeProcess>> processes_;
};

// What these processes run: until the daemon is gone.
int run_nic_probe(const std::string& interface, const std::string& tap);
int run_storage_probe(const std::string& directory, const std::vector<std::string>& images);

}  // namespace understudy
