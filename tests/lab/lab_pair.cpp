#include "tests/lab/lab_pair.h"

#include <fstream>
#include <iterator>
#include <thread>

#include <fmt/format.h>

namespace understudy::lab {

namespace {

constexpr Duration kReplayDeadline = std::chrono::seconds{30};
constexpr Duration kEventsDeadline = std::chrono::seconds{2};
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
  const auto& chosen = pair->options_;
  if (chosen.ailing != AilingFolder::kNone) {
    const auto folder =
        chosen.ailing == AilingFolder::kDisk ? pair->disk_folder(chosen.ailing_host) : pair->state_folder(chosen.ailing_host);
    US_ASSIGN(pair->ailing_, LabStorage::start(clock, chosen.programs, folder));
  }
  US_TRY(pair->write_files());
  US_ASSIGN(pair->arbiter_, LabArbiter::start(clock, pair->arbiter_options(), pair->of_host(NodeId::kA, ".toml")));
  for (const NodeId id : kBothNodes) {
    US_ASSIGN(pair->nodes_[static_cast<std::size_t>(id)], pair->start_daemon(id));
  }
  return pair;
}

Result<std::unique_ptr<Child>> LabPair::start_daemon(NodeId id) const {
  const auto& host = kHosts[static_cast<std::size_t>(id)];
  const auto programs = ails(AilingFolder::kState, id) ? state_folder(id) : options_.programs;
  return Child::start({.name = "understudyd on " + host,
                       .network_namespace = host,
                       .command = {(programs / "understudyd").string(), "run", "--config", of_host(id, ".toml").string()},
                       .log = log_file(id)});
}

std::filesystem::path LabPair::of_host(NodeId id, const char* suffix) const {
  return options_.folder / (kHosts[static_cast<std::size_t>(id)] + suffix);
}

std::filesystem::path LabPair::log_file(NodeId id) const {
  return ails(AilingFolder::kState, id) ? LabStorage::beneath(state_folder(id)) / "log" : of_host(id, ".log");
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

Result<void> LabPair::write_files() const {
  for (const NodeId id : kBothNodes) {
    US_TRY(write_file(of_host(id, ".toml"), configuration(id)));
    US_TRY(make_disk(id));
    US_TRY(write_file(kernel_log(id), ""));
    US_TRY(write_file(memory_pressure(id),
                      "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"));
    if (!ails(AilingFolder::kState, id)) continue;
    std::error_code failed;
    std::filesystem::copy_file(options_.programs / "understudyd", LabStorage::beneath(state_folder(id)) / "understudyd", failed);
    if (failed) return Error{ErrorCode::kFailed, "copy understudyd: " + failed.message()};
  }
  return {};
}

Result<void> LabPair::make_disk(NodeId id) const {
  const auto& guest = options_.guest;
  std::error_code failed;
  for (const auto& made : {disk_folder(id), state_folder(id)}) {
    std::filesystem::create_directory(made, failed);
    if (failed) return Error{ErrorCode::kFailed, fmt::format("make folder {}: {}", made.string(), failed.message())};
  }
  if (!guest.disk.empty()) {
    // By the tool, since it leaves holes where the image has zeros: the lab's files take up memory.
    const auto copied = run_command(clock_, {"cp", "--sparse=always", guest.disk.string(), disk(id).string()}, kCopyDeadline);
    if (!copied) return copied.error();
    return {};
  }
  US_TRY(write_file(disk(id), ""));
  std::filesystem::resize_file(disk(id), guest.disk_bytes, failed);
  if (failed) return Error{ErrorCode::kFailed, fmt::format("make disk {}: {}", disk(id).string(), failed.message())};
  return {};
}

std::string LabPair::log(NodeId id) const {
  std::ifstream file{log_file(id), std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
}

std::string LabPair::configuration(NodeId id) const {
  const int own = id == NodeId::kA ? 1 : 2;
  const int peer = 3 - own;
  const auto quoted = [](const std::filesystem::path& path) { return '"' + path.string() + '"'; };
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
  text += fmt::format("[[disk]]\nid = \"disk\"\nimage = {}\n\n", quoted(disk_folder(id) / "disk.img"));
  text += fmt::format("[replication]\nbind = \"tcp://10.77.1.{0}:7001\"\npeer = \"tcp://10.77.1.{1}:7001\"\n\n", own, peer);
  text += fmt::format("[heartbeat]\nbind = \"tcp://10.77.1.{0}:7002\"\npeer = \"tcp://10.77.1.{1}:7002\"\n\n", own, peer);
  text += LabArbiter::configuration(arbiter_options());
  text += keys_.configuration(options_.folder, id, options_.arbiter == ArbiterKind::kWitness);
  text += "[timing]\n";
  for (const TimingKey& key : kTimingKeys) {
    const auto stretched = std::chrono::duration_cast<std::chrono::milliseconds>(options_.timing.*key.value * options_.slowness);
    text += fmt::format("{} = {}\n", key.name, stretched.count());
  }
  text += '\n';
  // One kernel is under both hosts: each reads a log of its own, so that a fault may be one host's.
  text += fmt::format("[probes]\necho_target = \"{}\"\necho_lost_ms = {}\nkernel_log = {}\nmemory_pressure = {}\n\n", kClientIp.text(),
                      1000 * options_.slowness, quoted(kernel_log(id)), quoted(memory_pressure(id)));
  text += fmt::format("[state]\ndir = {}\nsocket = {}\n", quoted(state_folder(id) / "state"), quoted(of_host(id, ".sock")));
  if (ails(AilingFolder::kState, id)) text += fmt::format("[log]\nfile = {}\n", quoted(state_folder(id) / "log"));
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

Result<std::string> LabPair::ask(NodeId node, std::vector<std::string> words, Duration deadline) const {
  const std::string start[] = {(options_.programs / "understudy").string(), "--socket", of_host(node, ".sock").string()};
  words.insert(words.begin(), std::begin(start), std::end(start));
  auto said = run_command(clock_, words, deadline * options_.slowness);
  if (!said) return std::move(said.error()).within("ask " + kHosts[static_cast<std::size_t>(node)]);
  return said;
}

Result<NodeStatus> LabPair::status(NodeId node, Duration deadline) const {
  US_ASSIGN(const auto said, ask(node, {"status", "--json"}, deadline));
  auto status = parse_node_status(said);
  if (!status) return std::move(status.error()).within("ask " + kHosts[static_cast<std::size_t>(node)]);
  return status;
}

Result<std::vector<NodeEvent>> LabPair::events(NodeId node) const {
  US_ASSIGN(const auto said, ask(node, {"events", "--json", "--last", "10000"}, kEventsDeadline));
  auto events = parse_node_events(said);
  if (!events) return std::move(events.error()).within("ask " + kHosts[static_cast<std::size_t>(node)]);
  return events;
}

Result<std::vector<NodeEpoch>> LabPair::epochs(NodeId node, Epoch from) const {
  US_ASSIGN(const auto said, ask(node, {"epochs", "--json", "--from", std::to_string(from.raw()), "--last", "1024"}, kEventsDeadline));
  return parse_node_epochs(said);
}

Result<void> LabPair::command(NodeId node, std::vector<std::string> words, Duration deadline) const {
  US_TRY(ask(node, std::move(words), deadline));
  return {};
}

Result<std::string> LabPair::verify(NodeId node, Duration deadline) const {
  US_ASSIGN(auto said, ask(node, {"verify"}, deadline));
  if (said.ends_with('\n')) said.pop_back();
  return said;
}

Result<std::string> LabPair::replay(NodeId node) const {
  US_ASSIGN(auto said, ask(node, {"explain", "--replay"}, kReplayDeadline));
  if (said.ends_with('\n')) said.pop_back();
  return said;
}

Result<void> LabPair::say_in_kernel_log(NodeId id, const std::string& message) const {
  std::ofstream file{kernel_log(id), std::ios::app};
  file << message << '\n';
  if (!file.flush()) return Error::from_errno("write to the kernel log of " + kHosts[static_cast<std::size_t>(id)]);
  return {};
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
  for (const Child* child : {static_cast<const Child*>(arbiter_->process()), static_cast<const Child*>(nodes_[0].get()),
                             static_cast<const Child*>(nodes_[1].get())})
    if (child != nullptr) text += fmt::format("--- {}\n{}\n", child->name(), child->last_log_lines(lines_each));
  return text;
}

}  // namespace understudy::lab
