#include "tests/lab/lab_arbiter.h"

#include <csignal>
#include <fstream>
#include <thread>
#include <unistd.h>

#include <fmt/format.h>

namespace understudy::lab {

namespace {

constexpr const char* kMachine = "witness";
constexpr const char* kEtcdEndpoint = "http://10.77.2.3:2379";
constexpr const char* kEtcdPeer = "http://10.77.2.3:2380";
constexpr Duration kStartsWithin = std::chrono::seconds{20};
constexpr Duration kAnswersWithin = std::chrono::seconds{20};

// Of the system, or as deploy/setup unpacks it.
Result<std::string> etcd_program() {
  for (const char* const path : {"/usr/bin/etcd", UNDERSTUDY_UNPACKED_ETCD}) {
    if (::access(path, X_OK) == 0) return std::string{path};
  }
  return Error{ErrorCode::kNotFound, "etcd is neither installed nor in " UNDERSTUDY_UNPACKED_ETCD ": run deploy/setup --etcd"};
}

}  // namespace

std::vector<std::string> arbiter_names() { return {"witness", "etcd", "manual"}; }
std::vector<std::string> arbiter_process_names() { return {"witness", "etcd"}; }

std::optional<ArbiterKind> arbiter_of(std::string_view name) {
  if (name == "witness") return ArbiterKind::kWitness;
  if (name == "etcd") return ArbiterKind::kEtcd;
  if (name == "manual") return ArbiterKind::kManual;
  return std::nullopt;
}

std::string LabArbiter::configuration(const Options& options) {
  if (options.kind == ArbiterKind::kManual) return "[manual]\n\n";
  if (options.kind == ArbiterKind::kWitness) return fmt::format("[witness]\nendpoint = \"{}\"\n\n", kWitnessEndpoint);
  return fmt::format("[etcd]\nendpoints = [\"{}\"]\nprefix = \"lab\"\ntimeout_ms = {}\n\n", kEtcdEndpoint, 300 * options.slowness);
}

Result<std::unique_ptr<LabArbiter>> LabArbiter::start(const Clock& clock, Options options, std::filesystem::path node_config) {
  std::unique_ptr<LabArbiter> arbiter{new LabArbiter{clock, std::move(options), std::move(node_config)}};
  if (arbiter->options_.kind == ArbiterKind::kManual) return arbiter;
  US_TRY(arbiter->launch(true));
  if (arbiter->options_.kind == ArbiterKind::kEtcd) US_TRY(arbiter->steer({"init", "--new"}));
  return arbiter;
}

Result<void> LabArbiter::launch(bool first) {
  std::string name = "understudyd on witness";
  std::vector<std::string> command;
  if (options_.kind == ArbiterKind::kWitness) {
    command = {(options_.programs / "understudyd").string(), "witness", "--listen",           kWitnessEndpoint, "--store",
               (options_.folder / "witness-store").string(), "--key",   options_.key.string()};
    for (const auto& key : options_.admitted) command.insert(command.end(), {"--allow", key});
    if (first) command.emplace_back("--new");
  } else {
    name = "etcd on witness";
    US_ASSIGN(auto program, etcd_program());
    command = {std::move(program),
               "--name",
               "lab",
               "--data-dir",
               (options_.folder / "etcd-data").string(),
               "--logger",
               "zap",
               "--log-level",
               "warn",
               "--listen-client-urls",
               kEtcdEndpoint,
               "--advertise-client-urls",
               kEtcdEndpoint,
               "--listen-peer-urls",
               kEtcdPeer,
               "--initial-advertise-peer-urls",
               kEtcdPeer,
               "--initial-cluster",
               fmt::format("lab={}", kEtcdPeer)};
  }
  US_ASSIGN(
      process_,
      Child::start(
          {.name = std::move(name), .network_namespace = kMachine, .command = std::move(command), .log = options_.folder / "witness.log"}));
  killed_ = false;
  return {};
}

void LabArbiter::kill() {
  killed_ = true;
  process_->signal(SIGKILL);
  while (!process_->ending()) std::this_thread::sleep_for(std::chrono::milliseconds{1});
}

Result<void> LabArbiter::restart() { return launch(false); }

Result<std::string> LabArbiter::show() const { return steer({"show"}); }

Result<std::string> LabArbiter::steer(const std::vector<std::string>& words) const {
  std::vector<std::string> command{"ip", "netns", "exec", "host-a", (options_.programs / "understudyd").string(), "arbiter"};
  command.insert(command.end(), words.begin(), words.end());
  command.insert(command.end(), {"--config", node_config_.string()});
  const Instant give_up_at = clock_.now() + kStartsWithin * options_.slowness;
  auto said = run_command(clock_, command, kAnswersWithin * options_.slowness);
  while (!said && clock_.now() < give_up_at && !process_->ending()) {
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
    said = run_command(clock_, command, kAnswersWithin * options_.slowness);
  }
  return said;
}

Result<std::string> LabArbiter::try_seed(Term term) const {
  return run_command(clock_,
                     {"ip", "netns", "exec", "host-a", (options_.programs / "understudyd").string(), "arbiter", "seed", "--config",
                      node_config_.string(), "--term", std::to_string(term.raw()), "--holder", "b", "--incarnation", "1"},
                     kAnswersWithin * options_.slowness);
}

Refusals LabArbiter::refusals() const {
  Refusals found;
  std::ifstream log{options_.folder / "witness.log"};
  for (std::string line; std::getline(log, line);) {
    if (line.find("link: connection refused") != std::string::npos)
      found.add({.count = 1, .last = line.substr(line.find("address=")), .last_at = {}});
  }
  return found;
}

Result<void> LabArbiter::check_alive() const {
  if (killed_ || !process_) return {};
  const auto ending = process_->ending();
  if (!ending) return {};
  return Error{ErrorCode::kUnavailable, fmt::format("{} {}; its last words:\n{}", process_->name(), *ending, process_->last_log_lines(15))};
}

}  // namespace understudy::lab
