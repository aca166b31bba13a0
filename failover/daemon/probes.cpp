#include "failover/daemon/probes.h"

#include <unistd.h>

#include "failover/probe_nic.h"
#include "failover/probe_storage.h"
#include "failover/probe_wire.h"

namespace understudy {

namespace {
constexpr Duration kNicPeriod = std::chrono::milliseconds{50};
constexpr Duration kStoragePeriod = std::chrono::milliseconds{150};
constexpr const char* kThisProgram = "/proc/self/exe";
}  // namespace

Result<std::unique_ptr<Probes>> Probes::start(EventLoop& loop, const DaemonConfig& config, ProbeProcess::Report report) {
  auto probes = std::make_unique<Probes>();
  US_ASSIGN(auto nic, ProbeProcess::start(loop,
                                          {.path = ProbePath::kServiceNic,
                                           .command = {kThisProgram, "probe-nic", config.net.service_nic, "--tap", config.net.tap},
                                           .deadline = config.timing.probe_deadline},
                                          report));
  probes->processes_.push_back(std::move(nic));
  std::vector<std::string> storage_command{kThisProgram, "probe-storage", config.state_dir.string()};
  for (const auto& disk : config.disks) storage_command.push_back(disk.image.string());
  US_ASSIGN(
      auto storage,
      ProbeProcess::start(
          loop, {.path = ProbePath::kStorage, .command = std::move(storage_command), .deadline = config.timing.probe_deadline}, report));
  probes->processes_.push_back(std::move(storage));
  return probes;
}

int run_nic_probe(const std::string& interface, const std::string& tap) {
  NicProbe probe{interface, tap};
  return run_probe(ProbePath::kServiceNic, kNicPeriod, STDOUT_FILENO, [&] { return probe.exercise(); });
}

int run_storage_probe(const std::string& directory, const std::vector<std::string>& images) {
  StorageProbe probe{directory, std::vector<std::filesystem::path>(images.begin(), images.end())};
  return run_probe(ProbePath::kStorage, kStoragePeriod, STDOUT_FILENO, [&] { return probe.exercise(); });
}

}  // namespace understudy
