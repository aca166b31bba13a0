// `understudyd`: the daemon. One process runs one node of a pair, or the witness.
#include <cstdio>
#include <filesystem>
#include <string>

#include <CLI/CLI.hpp>

#include "failover/daemon/arbiter_command.h"
#include "failover/daemon/config.h"
#include "failover/daemon/control_access.h"
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
    "  understudyd witness --listen ENDPOINT --store DIR --new --key FILE --allow KEY --allow KEY\n"
    "                                          the third place, which grants the right to run the guest\n"
    "  understudyd arbiter show --config FILE  what the pair's arbiter (a witness, or etcd) has on record\n\n"
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
  if (auto readable = check_arbiter(*config); !readable) return fail(readable.error());
  if (auto known = ControlAccess::resolve(config->control); !known) return fail(known.error());
  std::printf("%s: pair %s, node %s: well-formed\n", config_path.c_str(), config->pair.name.c_str(), name_of(config->pair.node));
  return 0;
}

constexpr const char* kAboutArbiter =
    "The pair's arbiter, as the node's configuration names it: a witness, or etcd.\n\n"
    "  understudyd arbiter init --config FILE --new\n"
    "      etcd may grant terms from now on; only where no arbiter ever served these pairs\n"
    "  understudyd arbiter init --config FILE --replacement\n"
    "      etcd takes the place of one that lost its content: each pair must be seeded then\n"
    "  understudyd arbiter init --config FILE --restored\n"
    "      etcd was restored from a backup, and grants may have come after it: each pair must be seeded then\n"
    "  understudyd arbiter seed --config FILE --term 9 --holder a --incarnation 1234567890123456789\n"
    "      after a loss: node a runs the guest (or ran it last), and 9 is above every term and promise of either node\n"
    "      (`understudy status` shows them). A wrong holder may cost the guest's latest state.\n"
    "  understudyd arbiter show --config FILE\n"
    "      the pair's record as it stands\n";

// What `understudyd arbiter` was told.
struct ArbiterOptions {
  EtcdSetUp set_up = EtcdSetUp::kNew;
  std::uint64_t term = 0;
  std::string holder;
  std::uint64_t incarnation = 0;
};

int steer_arbiter(std::string_view command, const std::filesystem::path& config_path, const ArbiterOptions& options) {
  const auto config = load_config(config_path);
  if (!config) return fail(config.error());
  prepare_signals();
  const MonotonicClock clock;
  const NodeIncarnation holder{options.holder == "b" ? NodeId::kB : NodeId::kA, Incarnation{options.incarnation}};
  const auto said = command == "init"   ? set_up_arbiter(*config, options.set_up, clock)
                    : command == "seed" ? seed_arbiter(*config, Term{options.term}, holder, clock)
                                        : show_arbiter(*config, clock);
  if (!said) return fail(said.error());
  std::printf("%s\n", said->c_str());
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
  witness->add_option("--key", witness_options.key_file, "its secret key: `understudy keygen FILE` makes it");
  witness->add_option("--allow", witness_options.allowed, "the public key of a node that may ask, or @FILE with one a line; repeatable")
      ->allow_extra_args(false);
  witness->add_flag("--insecure", witness_options.insecure, "without keys: whoever reaches it may take a guest from its pair");

  ArbiterOptions arbiter_options;
  bool arbiter_is_new = false, arbiter_is_replacement = false, arbiter_is_restored = false;
  CLI::App* const arbiter = app.add_subcommand("arbiter", kAboutArbiter)->require_subcommand(1);
  CLI::App* const init = arbiter->add_subcommand("init", "let an etcd grant terms");
  CLI::App* const seed = arbiter->add_subcommand("seed", "tell an arbiter that forgot who runs the guest");
  CLI::App* const show = arbiter->add_subcommand("show", "the pair's record as it stands");
  for (CLI::App* const sub : {init, seed, show})
    sub->add_option("--config", config, "the TOML file of one of the pair's nodes")->required();
  auto* const how = init->add_option_group("how");
  how->add_flag("--new", arbiter_is_new, "no arbiter ever served these pairs");
  how->add_flag("--replacement", arbiter_is_replacement, "in place of one that lost its content: grants nothing until seeded");
  how->add_flag("--restored", arbiter_is_restored, "from a backup: nothing on record counts until seeded");
  how->require_option(1);
  seed->add_option("--term", arbiter_options.term, "above every term and promise of either node")->required();
  seed->add_option("--holder", arbiter_options.holder, "the node that runs the guest, or ran it last: a or b")
      ->required()
      ->check(CLI::IsMember({"a", "b"}));
  seed->add_option("--incarnation", arbiter_options.incarnation, "that node's, as `understudy status` shows it")->required();

  // For the daemon itself: a probe in a process of its own. What there is to know comes in order, and may be empty.
  std::vector<std::string> probed;
  std::string tap;
  std::vector<std::string> echo_targets;
  std::int64_t echo_lost_ms = 1000;
  const auto probe = [&](const char* name, int least, int most) {
    CLI::App* const sub = app.add_subcommand(name, "")->group("");
    sub->add_option("what", probed)->required()->expected(least, most);
    return sub;
  };
  CLI::App* const probe_nic = probe("probe-nic", 1, 1);
  probe_nic->add_option("--tap", tap);
  probe_nic->add_option("--echo", echo_targets)->allow_extra_args(false);
  probe_nic->add_option("--echo-lost-ms", echo_lost_ms);
  CLI::App* const probe_storage = probe("probe-storage", 1, 1000);
  CLI::App* const probe_replication = probe("probe-replication-nic", 2, 2);
  CLI::App* const probe_kernel_log = probe("probe-kernel-log", 4, 4);
  CLI::App* const probe_host = probe("probe-host", 2, 2);
  CLI::App* const probe_command = probe("probe-command", 5, 5);

  CLI11_PARSE(app, argc, argv);
  if (probe_nic->parsed()) return run_nic_probe(probed[0], tap, echo_targets, echo_lost_ms);
  if (probe_storage->parsed()) return run_storage_probe(probed[0], {probed.begin() + 1, probed.end()});
  if (probe_replication->parsed()) return run_replication_nic_probe(probed[0], probed[1]);
  if (probe_kernel_log->parsed()) return run_kernel_log_probe({probed[0], probed[1], probed[2], probed[3]});
  if (probe_host->parsed()) return run_host_probe(probed[0], std::stod(probed[1]));
  if (probe_command->parsed()) return run_command_probe({probed[0], probed[1], probed[2], std::stoll(probed[3]), std::stoll(probed[4])});
  if (run->parsed()) return run_node(config);
  if (check->parsed()) return check_config(config);
  if (arbiter_is_replacement) arbiter_options.set_up = EtcdSetUp::kReplacement;
  if (arbiter_is_restored) arbiter_options.set_up = EtcdSetUp::kRestored;
  if (arbiter->parsed()) return steer_arbiter(arbiter->get_subcommands().front()->get_name(), config, arbiter_options);
  witness_options.store = store;
  if (is_new) witness_options.open = WitnessStore::Open::kNew;
  if (is_replacement) witness_options.open = WitnessStore::Open::kReplacement;
  return run_witness(witness_options);
}

}  // namespace
}  // namespace understudy

int main(int argc, char** argv) { return understudy::dispatch(argc, argv); }
