// `understudyd`: the daemon. One process runs one node of a pair, or the witness.
#include <cstdio>
#include <filesystem>
#include <string>

#include <CLI/CLI.hpp>

#include "failover/daemon/config.h"
#include "failover/daemon/daemon.h"
#include "failover/daemon/log_setup.h"
#include "failover/daemon/probes.h"
#include "failover/daemon/process.h"
#include "failover/daemon/witness_daemon.h"
#include "net/base/log.h"

namespace understudy {
namespace {

constexpr Duration kStopGrace = std::chrono::seconds{5};

constexpr const char* kAbout =
    "Keeps a virtual machine running when its host fails.\n\n"
    "  understudyd run --config FILE           one node of a pair; the same on the other host, with node = \"b\"\n"
    "  understudyd check --config FILE         reads the configuration and says what is wrong with it\n"
    "  understudyd witness --listen ENDPOINT --store DIR --new\n"
    "                                          the third place, which grants the right to run the guest\n\n"
    "Steer a running node with `understudy`.\n";

int fail(const Error& error) {
  std::fprintf(stderr, "understudyd: %s\n", error.text().c_str());
  return 1;
}

int run_node(const std::filesystem::path& config_path) {
  auto config = load_config(config_path);
  if (!config) return fail(config.error());
  prepare_signals();
  if (auto started = start_log(config->log.file, config->log.level); !started) return fail(started.error());
  set_log_pair(config->pair.name, config->pair.node);
  const MonotonicClock clock;
  {
    auto daemon = Daemon::start(std::move(*config), clock);
    if (!daemon) {
      stop_log();
      return fail(daemon.error());
    }
    const int signal_number = wait_for_stop_signal();
    log(Severity::kInfo, "stopping", {{"signal", signal_number}});
    exit_after(kStopGrace, 1);
  }
  stop_log();
  return 0;
}

int run_witness(const WitnessOptions& options) {
  prepare_signals();
  if (auto started = start_log(std::nullopt, "info"); !started) return fail(started.error());
  const MonotonicClock clock;
  {
    auto witness = start_witness(options, clock);
    if (!witness) {
      stop_log();
      return fail(witness.error());
    }
    wait_for_stop_signal();
    exit_after(kStopGrace, 1);
  }
  stop_log();
  return 0;
}

int check_config(const std::filesystem::path& config_path) {
  const auto config = load_config(config_path);
  if (!config) return fail(config.error());
  std::printf("%s: pair %s, node %s: well-formed\n", config_path.c_str(), config->pair.name.c_str(), name_of(config->pair.node));
  return 0;
}

int dispatch(int argc, char** argv) {
  CLI::App app{kAbout, "understudyd"};
  app.set_version_flag("--version", std::string{UNDERSTUDY_VERSION});
  app.require_subcommand(1);

  std::string config;
  CLI::App* const run = app.add_subcommand("run", "run one node of a pair, until SIGTERM");
  CLI::App* const check = app.add_subcommand("check", "read a configuration and say what is wrong with it");
  for (CLI::App* const sub : {run, check}) sub->add_option("--config", config, "the node's TOML file")->required();

  WitnessOptions witness_options;
  std::string store;
  bool is_new = false;
  bool is_replacement = false;
  CLI::App* const witness = app.add_subcommand("witness", "grant terms to the nodes of any number of pairs, until SIGTERM");
  witness->add_option("--listen", witness_options.listen, "where nodes reach it, such as tcp://10.0.0.3:7003")->required();
  witness->add_option("--store", store, "the directory that holds the terms it granted")->required();
  auto* const new_flag =
      witness->add_flag("--new", is_new, "make the store if it is not there: only where no witness served these pairs before");
  witness->add_flag("--replacement", is_replacement, "make a store in place of a lost one: grants nothing until seeded")
      ->excludes(new_flag);

  // For the daemon itself: a probe in a process of its own.
  std::string probed;
  std::string tap;
  CLI::App* const probe_nic = app.add_subcommand("probe-nic", "")->group("");
  CLI::App* const probe_storage = app.add_subcommand("probe-storage", "")->group("");
  for (CLI::App* const sub : {probe_nic, probe_storage}) sub->add_option("what", probed)->required();
  std::vector<std::string> images;
  probe_storage->add_option("images", images);

  probe_nic->add_option("--tap", tap);

  CLI11_PARSE(app, argc, argv);
  if (probe_nic->parsed()) return run_nic_probe(probed, tap);
  if (probe_storage->parsed()) return run_storage_probe(probed, images);
  if (run->parsed()) return run_node(config);
  if (check->parsed()) return check_config(config);
  witness_options.store = store;
  if (is_new) witness_options.open = WitnessStore::Open::kNew;
  if (is_replacement) witness_options.open = WitnessStore::Open::kReplacement;
  return run_witness(witness_options);
}

}  // namespace
}  // namespace understudy

int main(int argc, char** argv) { return understudy::dispatch(argc, argv); }
