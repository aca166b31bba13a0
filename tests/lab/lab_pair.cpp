#include "tests/lab/lab_pair.h"

#include <fstream>
#include <iterator>
#include <thread>

#include <fmt/format.h>

#include "failover/daemon/timing.h"

namespace understudy::lab {

namespace {

constexpr Duration kReplayDeadline = std::chrono::seconds{30};
constexpr Duration kCopyDeadline = std::chrono::seconds{120};

Result<void> write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file{path, std::ios::binary};
  file << text;
  if (!file.flush()) return Error::from_errno("write " + path.string());
  return {};
}

}  // namespace

Result<std::unique_ptr<LabPair>> LabPair::start(const Clock& clock, Options options) {
  for (const char* const program : {"understudyd", "understudy"}) {
    if (!std::filesystem::exists(options.programs / program))
      return Error{ErrorCode::kNotFound, fmt::format("{} is not in {}: run deploy/setup", program, options.programs.string())};
  }
  std::unique_ptr<LabPair> pair{new LabPair{clock, std::move(options)}};
  US_TRY(pair->keys_.write(pair->options_.folder));
  US_TRY(pair->write_files());
  const auto& folder = pair->options_.folder;
  US_ASSIGN(pair->arbiter_, LabArbiter::start(clock, pair->arbiter_options(), folder / "host-a.toml"));
  for (const NodeId id : kBothNodes) {
    const auto& host = kHosts[static_cast<std::size_t>(id)];
    US_ASSIGN(pair->nodes_[static_cast<std::size_t>(id)],
              pair->start_daemon(host, {"run", "--config", (folder / (host + ".toml")).string()}));
  }
  return pair;
}

Result<std::unique_ptr<Child>> LabPair::start_daemon(const std::string& host, std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), (options_.programs / "understudyd").string());
  return Child::start({.name = "understudyd on " + host,
                       .network_namespace = host,
                       .command = std::move(arguments),
                       .log = options_.folder / (host + ".log")});
}

LabArbiter::Options LabPair::arbiter_options() const {
  return {.kind = options_.arbiter,
          .programs = options_.programs,
          .folder = options_.folder,
          .slowness = options_.slowness,
          .key = options_.folder / "witness.key",
          .admitted = {keys_.of(NodeId::kA).public_key().text(), keys_.of(NodeId::kB).public_key().text()}};
}

std::vector<Port> LabPair::ports() const {
  const auto at_host_a = [this](const std::string& what, int port) {
    return Port{
        .what = what, .endpoint = fmt::format("tcp://10.77.1.1:{}", port), .machine = kHosts[1], .key = keys_.of(NodeId::kA).public_key()};
  };
  std::vector<Port> ports{at_host_a("replication", 7001), at_host_a("heartbeat", 7002)};
  if (options_.arbiter == ArbiterKind::kWitness)
    ports.push_back(
        {.what = "witness", .endpoint = LabArbiter::kWitnessEndpoint, .machine = kHosts[1], .key = keys_.witness().public_key()});
  return ports;
}

std::filesystem::path LabPair::disk(NodeId id) const { return options_.folder / (kHosts[static_cast<std::size_t>(id)] + ".img"); }

std::filesystem::path LabPair::kernel_log(NodeId id) const { return options_.folder / (kHosts[static_cast<std::size_t>(id)] + ".kmsg"); }
std::filesystem::path LabPair::memory_pressure(NodeId id) const {
  return options_.folder / (kHosts[static_cast<std::size_t>(id)] + ".pressure");
}

Result<void> LabPair::write_files() const {
  for (const NodeId id : kBothNodes) {
    US_TRY(write_file(options_.folder / (kHosts[static_cast<std::size_t>(id)] + ".toml"), configuration(id)));
    US_TRY(make_disk(id));
    US_TRY(write_file(kernel_log(id), ""));
    US_TRY(write_file(memory_pressure(id),
                      "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"));
  }
  return {};
}

Result<void> LabPair::make_disk(NodeId id) const {
  const auto& guest = options_.guest;
  if (!guest.disk.empty()) {
    // By the tool, since it leaves holes where the image has zeros: the lab's files take up memory.
    const auto copied = run_command(clock_, {"cp", "--sparse=always", guest.disk.string(), disk(id).string()}, kCopyDeadline);
    if (!copied) return copied.error();
    return {};
  }
  US_TRY(write_file(disk(id), ""));
  std::error_code failed;
  std::filesystem::resize_file(disk(id), guest.disk_bytes, failed);
  if (failed) return Error{ErrorCode::kFailed, fmt::format("make disk {}: {}", disk(id).string(), failed.message())};
  return {};
}

std::string LabPair::log(NodeId id) const {
  std::ifstream file{options_.folder / (kHosts[static_cast<std::size_t>(id)] + ".log"), std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
}

std::string LabPair::configuration(NodeId id) const {
  const auto& host = kHosts[static_cast<std::size_t>(id)];
  const int own = id == NodeId::kA ? 1 : 2;
  const int peer = 3 - own;
  const auto quoted = [&](const std::string& name) { return '"' + (options_.folder / name).string() + '"'; };
  std::string text = fmt::format("[pair]\nname = \"lab\"\nnode = \"{}\"\ninitial_role = \"{}\"\n\n", name_of(id),
                                 id == NodeId::kA ? "primary" : "secondary");
  text += "[vm]\n";
  if (!options_.guest.initrd.empty()) text += fmt::format("initrd = \"{}\"\n", options_.guest.initrd.string());
  text += fmt::format("kernel = \"{}\"\ncmdline = \"{}\"\nmemory_mib = {}\nvcpus = {}\n", options_.guest.kernel.string(),
                      options_.guest.command_line, options_.guest.memory_mib, options_.vcpus);
  text += fmt::format("on_reset = \"{}\"\non_crash = \"{}\"\n\n", options_.reboot_on_reset ? "reboot" : "stop",
                      options_.reboot_on_crash ? "reboot" : "stop");
  text += fmt::format("[net]\ntap = \"tap-guest\"\nmac = \"{}\"\nguest_ip = \"{}\"\nservice_nic = \"svc0\"\n\n", kGuestMac.text(),
                      kGuestIp.text());
  text += fmt::format("[[disk]]\nid = \"disk\"\nimage = {}\n\n", quoted(host + ".img"));
  text += fmt::format("[replication]\nbind = \"tcp://10.77.1.{0}:7001\"\npeer = \"tcp://10.77.1.{1}:7001\"\n\n", own, peer);
  text += fmt::format("[heartbeat]\nbind = \"tcp://10.77.1.{0}:7002\"\npeer = \"tcp://10.77.1.{1}:7002\"\n\n", own, peer);
  text += LabArbiter::configuration(arbiter_options());
  text += keys_.configuration(options_.folder, id, options_.arbiter == ArbiterKind::kWitness);
  if (options_.slowness > 1) {
    const Timing usual;
    text += "[timing]\n";
    for (const TimingKey& key : kTimingKeys) {
      const auto stretched = std::chrono::duration_cast<std::chrono::milliseconds>(usual.*key.value * options_.slowness);
      text += fmt::format("{} = {}\n", key.name, stretched.count());
    }
    text += '\n';
  }
  // One kernel is under both hosts: each reads a log of its own, so that a fault may be one host's.
  text += fmt::format("[probes]\necho_target = \"{}\"\necho_lost_ms = {}\nkernel_log = {}\nmemory_pressure = {}\n\n", kClientIp.text(),
                      1000 * options_.slowness, quoted(host + ".kmsg"), quoted(host + ".pressure"));
  text += fmt::format("[state]\ndir = {}\nsocket = {}\n", quoted(host + "-state"), quoted(host + ".sock"));
  return text;
}

Result<void> LabPair::check_alive(std::optional<NodeId> struck) const {
  const auto check = [](Child& child) -> Result<void> {
    const auto ending = child.ending();
    if (!ending) return {};
    return Error{ErrorCode::kUnavailable, fmt::format("{} {}; its last words:\n{}", child.name(), *ending, child.last_log_lines(15))};
  };
  US_TRY(arbiter_->check_alive());
  for (const NodeId id : kBothNodes) {
    if (struck != id) US_TRY(check(*nodes_[static_cast<std::size_t>(id)]));
  }
  return {};
}

Result<NodeStatus> LabPair::status(NodeId node, Duration deadline) const {
  const auto& host = kHosts[static_cast<std::size_t>(node)];
  const std::vector<std::string> command{(options_.programs / "understudy").string(), "--socket",
                                         (options_.folder / (host + ".sock")).string(), "status", "--json"};
  auto said = run_command(clock_, command, deadline * options_.slowness);
  if (!said) return std::move(said.error()).within("ask " + host);
  auto status = parse_node_status(*said);
  if (!status) return std::move(status.error()).within("ask " + host);
  return status;
}

Result<void> LabPair::command(NodeId node, const std::string& command, Duration deadline) const {
  const auto& host = kHosts[static_cast<std::size_t>(node)];
  auto said =
      run_command(clock_, {(options_.programs / "understudy").string(), "--socket", (options_.folder / (host + ".sock")).string(), command},
                  deadline * options_.slowness);
  if (!said) return std::move(said.error()).within("tell " + host);
  return {};
}

Result<std::string> LabPair::replay(NodeId node) const {
  const auto& host = kHosts[static_cast<std::size_t>(node)];
  auto said = run_command(
      clock_,
      {(options_.programs / "understudy").string(), "--socket", (options_.folder / (host + ".sock")).string(), "explain", "--replay"},
      kReplayDeadline * options_.slowness);
  if (!said) return std::move(said.error()).within("replay " + host);
  if (said->ends_with('\n')) said->pop_back();
  return said;
}

Result<NodeStatus> LabPair::wait_until_protected(Duration deadline) const {
  const Instant give_up_at = clock_.now() + deadline;
  while (true) {
    US_TRY(check_alive());
    auto status = this->status(NodeId::kA);
    if (status && status->is_protected && status->runs_the_guest()) return status;
    if (status && status->role == "fenced")
      return Error{ErrorCode::kUnavailable,
                   fmt::format("host-a lost the guest before anything was done to it: {}\n{}", status->reason, logs(30))};
    if (clock_.now() >= give_up_at)
      return Error{ErrorCode::kTimeout,
                   fmt::format("the pair was not protected within {:.0f} s; host-a says: {}\n{}", to_ms(deadline) / 1000,
                               status ? fmt::format("{}: {}", status->role, status->reason) : status.error().text(), logs(10))};
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
  }
}

std::string LabPair::logs(std::size_t lines_each) const {
  std::string text;
  for (const Child* child : {&arbiter_->process(), nodes_[0].get(), nodes_[1].get()})
    text += fmt::format("--- {}\n{}\n", child->name(), child->last_log_lines(lines_each));
  return text;
}

}  // namespace understudy::lab
