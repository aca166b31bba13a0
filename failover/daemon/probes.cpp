#include "failover/daemon/probes.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <unistd.h>

#include <fmt/format.h>

#include "failover/daemon/tcp_address.h"
#include "failover/host_watch.h"
#include "failover/kernel_log.h"
#include "failover/probe_command.h"
#include "failover/probe_nic.h"
#include "failover/probe_storage.h"
#include "failover/probe_wire.h"
#include "failover/proc_file.h"

namespace understudy {

namespace {

constexpr const char* kThisProgram = "/proc/self/exe";
constexpr Duration kReopenEvery = std::chrono::seconds{1};

// Disks by folder: one canary stands for all that lies in it.
struct DiskFolder {
  std::filesystem::path canary;  // empty: its images are read-only, or block devices
  std::vector<std::string> images;
};
std::map<std::filesystem::path, DiskFolder> folders_of(const std::vector<DiskConfig>& disks) {
  std::map<std::filesystem::path, DiskFolder> folders;
  for (const DiskConfig& disk : disks) {
    DiskFolder& folder = folders[disk.image.parent_path()];
    std::error_code unknown;
    // Named after the image, so that two nodes whose images share a folder do not write one canary.
    if (folder.canary.empty() && !disk.read_only && std::filesystem::is_regular_file(disk.image, unknown))
      folder.canary = disk.image.string() + ".canary";
    folder.images.push_back(disk.image.string());
  }
  return folders;
}

}  // namespace

std::vector<ProbePath> Probes::paths(const DaemonConfig& config) {
  using enum ProbePath;
  std::vector<ProbePath> paths{kServiceNic, kStorage, kReceive, kKernel, kScheduler, kMemory, kClock, kVcpus, kVmm};
  if (!config.disks.empty()) paths.push_back(kGuestDisk);
  for (const Process& process : processes_of(config)) paths.push_back(process.path);
  std::ranges::sort(paths);
  const auto [first, last] = std::ranges::unique(paths);
  paths.erase(first, last);
  return paths;
}

std::vector<Probes::Process> Probes::processes_of(const DaemonConfig& config) {
  std::vector<Process> processes;
  const auto add = [&processes](ProbeKind kind, ProbePath path, std::string name, std::vector<std::string> command) {
    command.insert(command.begin(), kThisProgram);
    processes.push_back({.name = std::move(name),
                         .path = path,
                         .kind = kind,
                         .command = std::move(command),
                         .deadline = traits_of(kind).deadline,
                         .hysteresis = traits_of(kind).hysteresis});
  };
  const ProbesConfig& probes = config.probes;

  std::vector<std::string> nic{"probe-nic",      config.net.service_nic,
                               "--tap",          config.net.tap,
                               "--echo-lost-ms", std::to_string(std::chrono::floor<std::chrono::milliseconds>(probes.echo_lost).count())};
  for (const Ipv4Address& target : probes.echo_targets) nic.insert(nic.end(), {"--echo", target.text()});
  add(ProbeKind::kNic, ProbePath::kServiceNic, config.net.service_nic, std::move(nic));

  add(ProbeKind::kStorage, ProbePath::kStorage, "state in " + config.state_dir.string(),
      {"probe-storage", (config.state_dir / "canary").string()});
  for (const auto& [path, folder] : folders_of(config.disks)) {
    std::vector<std::string> storage{"probe-storage", folder.canary.string()};
    storage.insert(storage.end(), folder.images.begin(), folder.images.end());
    add(ProbeKind::kStorage, ProbePath::kStorage, "disks in " + path.string(), std::move(storage));
  }

  const std::string peer = tcp_address(config.replication.peer).value_or(TcpAddress{}).host;
  if (!probes.replication_nic.empty() || !peer.empty())
    add(ProbeKind::kReplicationNic, ProbePath::kReplicationNic, probes.replication_nic.empty() ? "way to " + peer : probes.replication_nic,
        {"probe-replication-nic", probes.replication_nic, peer});

  if (probes.watch_kernel_log)
    add(ProbeKind::kKernelLog, ProbePath::kKernel, probes.kernel_log.string(),
        {"probe-kernel-log", probes.kernel_log.string(), probes.kernel_log_rules.value_or("").string(), config.net.service_nic,
         probes.replication_nic});
  add(ProbeKind::kMemory, ProbePath::kMemory, "host",
      {"probe-host", probes.memory_pressure.string(), std::to_string(probes.memory_pressure_percent)});

  for (const CommandProbeConfig& command : probes.commands) {
    const auto ms = [](Duration duration) { return std::to_string(std::chrono::floor<std::chrono::milliseconds>(duration).count()); };
    add(ProbeKind::kCommand, command.path, command.name,
        {"probe-command", command.name, name_of(command.path), command.command, ms(command.period), ms(command.deadline)});
    // Its process kills the command at the deadline; this one is for the process itself.
    processes.back().deadline = command.period + command.deadline + std::chrono::seconds{2};
    processes.back().hysteresis = command.hysteresis;
  }
  return processes;
}

Result<void> Probes::run(EventLoop& loop, const DaemonConfig& config, const Process& process, Evidence& evidence) {
  const bool is_command = process.kind == ProbeKind::kCommand;
  evidence.expect(process.name, process.path, process.hysteresis, !is_command, loop.clock().now());
  auto found = [this, &loop, &evidence, name = process.name, kind = process.kind](ProbeReport report) {
    const std::uint64_t load = kind == ProbeKind::kStorage ? disk_load_ : kind == ProbeKind::kNic ? frame_load_ : 0;
    if (report.health == Health::kFailed && report.text.starts_with("no answer")) report.text = name + ": " + report.text;
    evidence.take(name, std::move(report), loop.clock().now(), load);
  };
  const Timing& timing = config.timing;
  const Duration usual = process.kind == ProbeKind::kStorage ? timing.storage_deadline : timing.probe_deadline;
  const Duration deadline = process.deadline > Duration{} ? process.deadline : usual;
  US_ASSIGN(auto started, ProbeProcess::start(loop,
                                              {.path = process.path,
                                               .other_paths = process.kind == ProbeKind::kKernelLog || process.kind == ProbeKind::kMemory,
                                               .command = process.command,
                                               .deadline = deadline,
                                               .silence = traits_of(process.kind).silence},
                                              std::move(found)));
  processes_.push_back(std::move(started));
  return {};
}

Result<std::unique_ptr<Probes>> Probes::start(EventLoop& loop, const DaemonConfig& config, Evidence& evidence) {
  auto probes = std::make_unique<Probes>();
  for (const Process& process : processes_of(config)) US_TRY(probes->run(loop, config, process, evidence));
  return probes;
}

int run_nic_probe(const std::string& interface, const std::string& tap, const std::vector<std::string>& echo_targets,
                  std::int64_t echo_lost_ms) {
  std::vector<Ipv4Address> targets;
  for (const std::string& text : echo_targets)
    if (const auto address = Ipv4Address::parse(text)) targets.push_back(*address);
  NicProbe probe{interface, tap, std::move(targets), {.lost_after = std::chrono::milliseconds{echo_lost_ms}}};
  return run_probe(ProbePath::kServiceNic, traits_of(ProbeKind::kNic).period, STDOUT_FILENO, [&] { return probe.exercise(); });
}

int run_storage_probe(const std::filesystem::path& canary, const std::vector<std::string>& images) {
  StorageProbe probe{canary, std::vector<std::filesystem::path>(images.begin(), images.end())};
  return run_probe(ProbePath::kStorage, traits_of(ProbeKind::kStorage).period, STDOUT_FILENO, [&] { return probe.exercise(); });
}

int run_replication_nic_probe(const std::string& interface, const std::string& peer) {
  // Once it was found its name is kept: its address may go with it.
  std::string name = interface;
  return run_probe(ProbePath::kReplicationNic, traits_of(ProbeKind::kReplicationNic).period, STDOUT_FILENO, [&]() -> ProbeReport {
    if (name.empty()) {
      const auto towards = interface_towards(peer);
      if (!towards) return {.path = ProbePath::kReplicationNic, .health = Health::kDegraded, .text = towards.error().text()};
      name = *towards;
    }
    return judge_replication_nic(name, nic_snapshot(name));
  });
}

int run_kernel_log_probe(const KernelLogProbeOptions& options) {
  auto rules = options.rules.empty() ? default_kernel_log_rules() : load_kernel_log_rules(options.rules);
  auto watch = rules ? KernelLogWatch::create(*rules, options.service_nic, options.replication_nic) : Result<KernelLogWatch>{rules.error()};
  if (!watch) {
    std::fprintf(stderr, "understudyd: %s\n", watch.error().text().c_str());
    return 1;
  }
  const MonotonicClock clock;
  auto source = KernelLogSource::open(options.source);
  Instant opened_at = clock.now();
  return run_probe(traits_of(ProbeKind::kKernelLog).period, STDOUT_FILENO, [&]() -> std::vector<ProbeReport> {
    if (!source && clock.now() - opened_at >= kReopenEvery) {
      source = KernelLogSource::open(options.source);
      opened_at = clock.now();
    }
    if (!source) return {{.path = ProbePath::kKernel, .health = Health::kDegraded, .text = source.error().text()}};
    for (const std::string& record : source->read())
      if (const auto message = kernel_message(record)) watch->line(clock.now(), *message);
    return watch->reports(clock.now());
  });
}

int run_host_probe(const std::string& memory_pressure, double limit_percent) {
  const MonotonicClock clock;
  ClockWatch clocks;
  return run_probe(traits_of(ProbeKind::kMemory).period, STDOUT_FILENO, [&]() -> std::vector<ProbeReport> {
    const std::string text = read_proc_file(memory_pressure);
    // Both clocks at one moment: read again when this process was held up between the two.
    Instant now = clock.now();
    std::int64_t realtime = realtime_ns();
    for (int i = 0; i < 5 && clock.now() - now > std::chrono::milliseconds{1}; ++i) {
      now = clock.now();
      realtime = realtime_ns();
    }
    return {judge_memory(full_pressure(text), limit_percent), clocks.look(now, realtime)};
  });
}

int run_command_probe(const CommandProbeOptions& options) {
  const auto path = probe_path_of(options.path);
  if (!path) return 1;
  CommandProbe probe{options.name, *path, options.command, std::chrono::milliseconds{options.deadline_ms}};
  return run_probe(*path, std::chrono::milliseconds{options.period_ms}, STDOUT_FILENO, [&] { return probe.exercise(); });
}

}  // namespace understudy
