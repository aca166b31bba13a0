// The table [probes] of a node's configuration, and the file of kernel log rules that it may name.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "failover/echo_watch.h"
#include "failover/kernel_log.h"
#include "failover/probe.h"
#include "failover/probe_threshold.h"
#include "net/base/addresses.h"
#include "net/base/result.h"

namespace understudy {

class TomlSection;

// [[probes.command]]: a probe of the operator's own (probe_command.h).
struct CommandProbeConfig {
  std::string name;
  std::string command;
  Duration period = traits_of(ProbeKind::kCommand).period;
  Duration deadline = std::chrono::seconds{2};
  Hysteresis hysteresis = traits_of(ProbeKind::kCommand).hysteresis;
  ProbePath path = ProbePath::kUser;
};

struct ProbesConfig {
  std::vector<Ipv4Address> echo_targets;  // empty: the default gateway behind the service NIC, if there is one
  Duration echo_lost = EchoLimits{}.lost_after;
  std::string replication_nic;  // empty: the one from which [replication] peer is reached
  std::filesystem::path kernel_log = "/dev/kmsg";
  bool watch_kernel_log = true;
  std::optional<std::filesystem::path> kernel_log_rules;  // without: default_kernel_log_rules()
  std::filesystem::path memory_pressure = "/proc/pressure/memory";
  std::int64_t memory_pressure_percent = 20;
  std::vector<CommandProbeConfig> commands;
};

// kInvalid names file, line and what was expected; a named rules file is read as well.
Result<void> read_probes(TomlSection in, ProbesConfig& out);

// [[rule]] tables: pattern, severity ("failed" or "degraded"), path, counts_for_s. See deploy/config/kernel-log.toml.
Result<std::vector<KernelLogRule>> parse_kernel_log_rules(std::string_view text, std::string_view name);
Result<std::vector<KernelLogRule>> load_kernel_log_rules(const std::filesystem::path& path);

}  // namespace understudy
