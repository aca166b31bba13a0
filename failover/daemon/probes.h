// The probes of this host, as configured: which paths there are, and the processes that exercise them.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "failover/daemon/config.h"
#include "failover/evidence.h"
#include "failover/loop_watch.h"
#include "failover/probe_process.h"

namespace understudy {

// Loop-owned. What can hang runs in a process of its own.
class Probes {
 public:
  // What this host is judged by: these processes, and what the daemon sees of itself (own_probes.h).
  static std::vector<ProbePath> paths(const DaemonConfig& config);

  // Exercises every path from now on and gives what is found to `evidence`, which outlives this.
  static Result<std::unique_ptr<Probes>> start(EventLoop& loop, const DaemonConfig& config, Evidence& evidence);

  // What makes these paths slow without their fault: what the guest's disks (in blocks) and its NIC (in frames) served in
  // a second.
  void load(std::uint64_t disk_blocks, std::uint64_t frames) {
    disk_load_ = disk_blocks;
    frame_load_ = frames;
  }

 private:
  struct Process {
    std::string name;
    ProbePath path = ProbePath::kUser;
    ProbeKind kind = ProbeKind::kCommand;
    std::vector<std::string> command;
    Duration deadline{};
    Hysteresis hysteresis{};
  };
  static std::vector<Process> processes_of(const DaemonConfig& config);
  Result<void> run(EventLoop& loop, const DaemonConfig& config, const Process& process, Evidence& evidence);

  std::vector<std::unique_ptr<ProbeProcess>> processes_;
  std::uint64_t disk_load_ = 0;
  std::uint64_t frame_load_ = 0;
};

// What these processes run: until the daemon is gone.
int run_nic_probe(const std::string& interface, const std::string& tap, const std::vector<std::string>& echo_targets,
                  std::int64_t echo_lost_ms);
int run_storage_probe(const std::filesystem::path& canary, const std::vector<std::string>& images);
// `interface`, or, where that is empty, the one that leads to `peer`.
int run_replication_nic_probe(const std::string& interface, const std::string& peer);
struct KernelLogProbeOptions {
  std::string source;
  std::string rules;  // empty: the built-in ones
  std::string service_nic;
  std::string replication_nic;
};
int run_kernel_log_probe(const KernelLogProbeOptions& options);
int run_host_probe(const std::string& memory_pressure, double limit_percent);
struct CommandProbeOptions {
  std::string name;
  std::string path;
  std::string command;
  std::int64_t period_ms = 0;
  std::int64_t deadline_ms = 0;
};
int run_command_probe(const CommandProbeOptions& options);

}  // namespace understudy
