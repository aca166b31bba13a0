#include "failover/daemon/config.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <span>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>

#include "failover/daemon/toml_section.h"
#include "vmm/cpu_model.h"

namespace understudy {

namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 20;

Result<void> read_pair(TomlSection in, DaemonConfig::Pair& out) {
  US_ASSIGN(out.name, in.required_text("name"));
  if (out.name.size() > 64) return in.at("name", "expected at most 64 characters");
  out.id = pair_id_of(out.name);
  US_ASSIGN(const auto node, in.required_text("node"));
  if (node != "a" && node != "b") return in.at("node", fmt::format("expected \"a\" or \"b\", found \"{}\"", node));
  out.node = node == "a" ? NodeId::kA : NodeId::kB;
  US_ASSIGN(const auto role, in.required_text("initial_role"));
  if (role != "primary" && role != "secondary")
    return in.at("initial_role", fmt::format("expected \"primary\" or \"secondary\", found \"{}\"", role));
  out.initial_primary = role == "primary";
  US_ASSIGN(const auto home, in.optional_text("home"));
  if (home && *home != "a" && *home != "b") return in.at("home", fmt::format("expected \"a\" or \"b\", found \"{}\"", *home));
  if (home) out.home = *home == "a" ? NodeId::kA : NodeId::kB;
  US_ASSIGN(out.alone, in.flag("alone", false));
  US_ASSIGN(const auto durability, in.optional_text("durability"));
  if (durability && *durability != "memory" && *durability != "disk")
    return in.at("durability", fmt::format("expected \"memory\" or \"disk\", found \"{}\"", *durability));
  out.ack_when_durable = durability == "disk";
  US_ASSIGN(const auto rate, in.whole_number("fold_mib_per_s", 1, 100'000));
  if (rate) out.fold_bytes_per_second = static_cast<std::uint64_t>(*rate) << 20;
  return in.nothing_else();
}

Result<void> read_on_end(TomlSection& in, std::string_view key, bool may_do_nothing, OnEnd& out) {
  US_ASSIGN(const auto word, in.optional_text(key));
  if (!word) return {};
  if (*word == "reboot") {
    out = OnEnd::kReboot;
  } else if (*word == "stop") {
    out = OnEnd::kStop;
  } else if (*word == "nothing" && may_do_nothing) {
    out = OnEnd::kNothing;
  } else {
    return in.at(key, fmt::format("expected \"reboot\"{} or \"stop\", found \"{}\"", may_do_nothing ? ", \"nothing\"" : "", *word));
  }
  return {};
}

Result<void> read_restart(TomlSection& in, RestartConfig& out) {
  US_TRY(read_on_end(in, "on_reset", false, out.on_reset));
  US_TRY(read_on_end(in, "on_crash", false, out.on_crash));
  US_TRY(read_on_end(in, "on_panic", true, out.on_panic));
  US_ASSIGN(const auto crashes, in.whole_number("max_crashes", 0, 1000));
  if (crashes) out.max_crashes = static_cast<unsigned>(*crashes);
  US_ASSIGN(const auto window, in.whole_number("crash_window_s", 1, 86'400));
  if (window) out.crash_window = std::chrono::seconds{*window};
  return {};
}

Result<void> read_vm(TomlSection in, DaemonConfig::Vm& out) {
  US_ASSIGN(out.kernel, in.required_text("kernel"));
  US_ASSIGN(auto initrd, in.optional_text("initrd"));
  if (initrd) out.initrd = std::move(*initrd);
  US_ASSIGN(auto cmdline, in.optional_text("cmdline"));
  out.cmdline = std::move(cmdline).value_or("");
  US_ASSIGN(const auto protocol, in.optional_text("boot_protocol"));
  if (protocol && *protocol != "auto" && *protocol != "linux64" && *protocol != "pvh")
    return in.at("boot_protocol", fmt::format("expected \"auto\", \"linux64\" or \"pvh\", found \"{}\"", *protocol));
  if (protocol && *protocol != "auto") out.boot_protocol = *protocol == "pvh" ? BootProtocol::kPvh : BootProtocol::kLinux64;
  US_ASSIGN(out.virtio_on_cmdline, in.flag("virtio_on_cmdline", true));
  US_ASSIGN(const auto memory_mib, in.required_whole_number("memory_mib", 4, 1 << 20));
  out.memory_bytes = static_cast<std::uint64_t>(memory_mib) << 20;
  US_ASSIGN(const auto balloon_mib, in.whole_number("balloon_mib", 0, memory_mib - 1));
  out.balloon_bytes = static_cast<std::uint64_t>(balloon_mib.value_or(0)) << 20;
  US_ASSIGN(const auto vcpus, in.whole_number("vcpus", 1, 8));
  out.vcpus = static_cast<unsigned>(vcpus.value_or(1));
  US_ASSIGN(auto cpu_model, in.optional_text("cpu_model"));
  if (cpu_model) {
    const auto models = cpu_model_names();
    if (std::ranges::find(models, *cpu_model) == models.end())
      return in.at("cpu_model", fmt::format("expected one of {}, found \"{}\"", fmt::join(models, ", "), *cpu_model));
    out.cpu_model = std::move(*cpu_model);
  }
  US_TRY(read_restart(in, out.restart));
  return in.nothing_else();
}

Result<void> read_net(TomlSection in, DaemonConfig::Net& out) {
  US_ASSIGN(out.tap, in.required_text("tap"));
  US_ASSIGN(const auto mac, in.required_text("mac"));
  const auto parsed_mac = MacAddress::parse(mac);
  if (!parsed_mac || (parsed_mac->octets[0] & 1) != 0)
    return in.at("mac", fmt::format("expected a unicast address like \"52:54:00:12:34:56\", found \"{}\"", mac));
  out.mac = *parsed_mac;
  US_ASSIGN(const auto address, in.optional_text("guest_ip"));
  if (address) {
    out.guest_ip = Ipv4Address::parse(*address);
    if (!out.guest_ip) return in.at("guest_ip", fmt::format("expected an IPv4 address like \"10.0.0.10\", found \"{}\"", *address));
  }
  US_ASSIGN(out.service_nic, in.required_text("service_nic"));
  return in.nothing_else();
}

Result<void> read_disk(TomlSection in, std::vector<DiskConfig>& out) {
  DiskConfig disk;
  US_ASSIGN(disk.id, in.required_text("id"));
  const bool plain = std::ranges::all_of(disk.id, [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; });
  if (!plain || disk.id.size() > 20) return in.at("id", fmt::format("expected 1 to 20 letters, digits, - or _, found \"{}\"", disk.id));
  if (std::ranges::any_of(out, [&](const DiskConfig& other) { return other.id == disk.id; }))
    return in.at("id", fmt::format("\"{}\" names a disk above already", disk.id));
  US_ASSIGN(disk.image, in.required_text("image"));
  US_ASSIGN(disk.read_only, in.flag("read_only", false));
  out.push_back(std::move(disk));
  return in.nothing_else();
}

Result<std::string> read_endpoint(TomlSection& in, std::string_view key) {
  US_ASSIGN(auto endpoint, in.required_text(key));
  if (!endpoint.starts_with("tcp://") && !endpoint.starts_with("ipc://"))
    return in.at(key, fmt::format("expected an endpoint like \"tcp://10.0.0.1:7001\", found \"{}\"", endpoint));
  return endpoint;
}

Result<void> read_link(TomlSection in, LinkConfig& out) {
  US_ASSIGN(out.bind, read_endpoint(in, "bind"));
  US_ASSIGN(out.peer, read_endpoint(in, "peer"));
  return in.nothing_else();
}

Result<void> read_etcd(TomlSection in, EtcdConfig& out) {
  US_ASSIGN(const auto endpoints, in.required_texts("endpoints", 9));
  for (const auto& text : endpoints) {
    const auto endpoint = EtcdEndpoint::parse(text);
    if (!endpoint)
      return in.at("endpoints", fmt::format("expected addresses like \"http://10.0.0.3:2379\" (no host names), found \"{}\"", text));
    if (std::ranges::find(out.endpoints, *endpoint) != out.endpoints.end())
      return in.at("endpoints", fmt::format("\"{}\" stands there twice", text));
    if (!out.endpoints.empty() && out.endpoints.front().tls != endpoint->tls)
      return in.at("endpoints", "expected either http or https for all");
    out.endpoints.push_back(*endpoint);
  }
  US_ASSIGN(auto prefix, in.optional_text("prefix"));
  if (prefix) {
    const bool plain = std::ranges::all_of(*prefix, [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; });
    if (!plain || prefix->empty() || prefix->size() > 64)
      return in.at("prefix", fmt::format("expected 1 to 64 letters, digits, - or _, found \"{}\"", *prefix));
    out.prefix = std::move(*prefix);
  }
  EtcdTls tls;
  for (const auto& [key, path] : {std::pair{"ca", &tls.ca}, std::pair{"cert", &tls.cert}, std::pair{"key", &tls.key}}) {
    US_ASSIGN(const auto text, in.optional_text(key));
    if (!text) continue;
    if (!out.endpoints.front().tls) return in.at(key, "is for https endpoints");
    *path = *text;
  }
  if (out.endpoints.front().tls) {
    if (tls.ca.empty()) return in.at("ca", "https endpoints need the CA's certificate, found nothing");
    if (tls.cert.empty() != tls.key.empty()) return in.at(tls.cert.empty() ? "cert" : "key", "cert and key go together");
    out.tls = std::move(tls);
  }
  US_ASSIGN(const auto ms, in.whole_number("timeout_ms", 20, 10'000));
  if (ms) out.timeout = std::chrono::milliseconds{*ms};
  return in.nothing_else();
}

Result<void> read_timing(TomlSection in, Timing& out) {
  for (const TimingKey& key : kTimingKeys) {
    US_ASSIGN(const auto ms, in.whole_number(key.name, key.lowest_ms, key.highest_ms));
    if (ms) out.*key.value = std::chrono::milliseconds{*ms};
  }
  if (out.solo_after < 3 * out.heartbeat) return in.at("solo_after_ms", "expected at least three times heartbeat_ms");
  if (out.takeover_after < 3 * out.heartbeat) return in.at("takeover_after_ms", "expected at least three times heartbeat_ms");
  if (out.stalled_after < 2 * out.epoch) return in.at("stalled_after_ms", "expected at least twice epoch_ms");
  if (out.ack_timeout < 2 * out.epoch) return in.at("ack_timeout_ms", "expected at least twice epoch_ms");
  return in.nothing_else();
}

Result<void> read_pacing(TomlSection in, PacingConfig& out) {
  US_ASSIGN(const auto budget_ms, in.whole_number("budget_ms", 1, 10'000));
  if (budget_ms) out.budget = std::chrono::milliseconds{*budget_ms};
  US_ASSIGN(const auto loss, in.whole_number("max_loss_percent", 1, 90));
  if (loss) out.max_loss = static_cast<double>(*loss) / 100;
  US_ASSIGN(const auto link, in.whole_number("max_link_mib_per_s", 1, 1 << 20));
  if (link) out.max_link_bytes_per_second = static_cast<std::uint64_t>(*link) << 20;
  US_ASSIGN(out.budget_first, in.flag("budget_first", false));
  if (out.budget_first && !out.budget) return in.at("budget_first", "needs budget_ms");
  return in.nothing_else();
}

Result<void> read_fencing(TomlSection in, DaemonConfig::Fencing& out) {
  US_ASSIGN(out.required, in.flag("required", false));
  US_ASSIGN(const auto self, in.whole_number("self_fence_after_ms", 100, 3'600'000));
  if (self) out.self_fence_after = std::chrono::milliseconds{*self};
  US_ASSIGN(const auto timeout, in.whole_number("timeout_s", 1, 3600));
  if (timeout) out.timeout = std::chrono::seconds{*timeout};
  US_ASSIGN(out.agent, in.optional_texts("agent", 32));
  if (!out.agent.empty() && !out.agent.front().starts_with('/'))
    return in.at("agent", fmt::format("expected a program by its whole path, found \"{}\"", out.agent.front()));
  US_ASSIGN(out.options, in.optional_texts("options", 64));
  for (const std::string& option : out.options) {
    const bool clean = option.find('=') != std::string::npos && option.find_first_of("\r\n") == std::string::npos && option.size() <= 500;
    if (!clean || option.starts_with("action=")) return in.at("options", "expected strings like \"ip=10.0.0.9\", without the action");
  }
  US_ASSIGN(auto disk, in.optional_text("shared_disk"));
  if (disk) out.shared_disk = std::move(*disk);
  if (out.agent.empty() && !out.options.empty()) return in.at("options", "are for an agent, and there is none");
  if (out.agent.empty() && !out.shared_disk && out.required) return in.at("required", "expected a fence agent or a shared disk beside it");
  return in.nothing_else();
}

Result<void> read_watchdog(TomlSection in, DaemonConfig::WatchdogDevice& out) {
  US_ASSIGN(out.device, in.required_text("device"));
  US_ASSIGN(const auto timeout, in.whole_number("timeout_s", 2, 600));
  if (timeout) out.timeout = std::chrono::seconds{*timeout};
  return in.nothing_else();
}

Result<void> read_log(TomlSection in, DaemonConfig::Log& out) {
  US_ASSIGN(auto file, in.optional_text("file"));
  if (file) out.file = std::move(*file);
  US_ASSIGN(auto level, in.optional_text("level"));
  if (level) {
    static constexpr std::string_view kLevels[] = {"debug", "info", "warning", "error"};
    if (std::ranges::find(kLevels, *level) == std::end(kLevels))
      return in.at("level", fmt::format("expected debug, info, warning or error, found \"{}\"", *level));
    out.level = std::move(*level);
  }
  return in.nothing_else();
}

// The file's top level: which tables there are, and that each is one.
class Document {
 public:
  Document(std::string_view name, const toml::table& root) : name_{name}, root_{root} {}

  Result<std::optional<TomlSection>> optional_table(std::string_view key) const {
    const toml::node* const node = root_.get(key);
    if (node == nullptr) return std::optional<TomlSection>{};
    if (!node->is_table())
      return Error{ErrorCode::kInvalid, fmt::format("{}:{}: expected [{}] to be a table", name_, node->source().begin.line, key)};
    return std::optional{TomlSection{name_, fmt::format("[{}]", key), *node->as_table()}};
  }
  Result<TomlSection> table(std::string_view key) const {
    US_ASSIGN(auto found, optional_table(key));
    if (!found) return Error{ErrorCode::kInvalid, fmt::format("{}: expected a table [{}], found none", name_, key)};
    return std::move(*found);
  }
  Result<std::vector<TomlSection>> tables(std::string_view key) const {
    std::vector<TomlSection> sections;
    const toml::node* const node = root_.get(key);
    if (node == nullptr) return sections;
    const toml::array* const array = node->as_array();
    if (array == nullptr || !array->is_homogeneous(toml::node_type::table))
      return Error{ErrorCode::kInvalid, fmt::format("{}:{}: expected [[{}]] tables", name_, node->source().begin.line, key)};
    for (const auto& element : *array) sections.emplace_back(name_, fmt::format("[[{}]]", key), *element.as_table());
    return sections;
  }
  Result<void> only(std::span<const std::string_view> known) const {
    for (const auto& [key, node] : root_) {
      if (std::ranges::find(known, key.str()) == known.end())
        return Error{ErrorCode::kInvalid, fmt::format("{}:{}: unknown table or key \"{}\"; expected one of: {}", name_,
                                                      node.source().begin.line, key.str(), fmt::join(known, ", "))};
    }
    return {};
  }

 private:
  std::string name_;
  const toml::table& root_;
};

}  // namespace

PairId pair_id_of(std::string_view name) { return PairId{XXH3_64bits(name.data(), name.size())}; }

Result<DaemonConfig> parse_config(std::string_view text, std::string_view name) {
  toml::table root;
  try {
    root = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    return Error{ErrorCode::kInvalid, fmt::format("{}:{}: not TOML: {}", name, error.source().begin.line, error.description())};
  }
  const Document document{name, root};
  static constexpr std::string_view kKnown[] = {"pair",     "vm",    "net",    "disk",     "replication", "heartbeat",
                                                "witness",  "etcd",  "manual", "security", "control",     "fencing",
                                                "watchdog", "state", "timing", "log",      "probes",      "pacing"};
  US_TRY(document.only(kKnown));

  DaemonConfig config;
  US_ASSIGN(auto pair, document.table("pair"));
  US_TRY(read_pair(std::move(pair), config.pair));
  US_ASSIGN(auto vm, document.table("vm"));
  US_TRY(read_vm(std::move(vm), config.vm));
  US_ASSIGN(auto net, document.table("net"));
  US_TRY(read_net(std::move(net), config.net));
  US_ASSIGN(auto disks, document.tables("disk"));
  for (auto& disk : disks) US_TRY(read_disk(std::move(disk), config.disks));
  US_ASSIGN(auto replication, document.table("replication"));
  US_ASSIGN(const auto scrub, replication.whole_number("scrub_kib_per_s", 0, 1 << 20));
  if (scrub) config.scrub_pages_per_second = static_cast<std::uint64_t>(*scrub) / (kPageSizeBytes / 1024);
  US_ASSIGN(const auto transfer, replication.whole_number("transfer_mib_per_s", 0, 1 << 20));
  config.transfer_bytes_per_second = static_cast<std::uint64_t>(transfer.value_or(0)) << 20;
  US_TRY(read_link(std::move(replication), config.replication));
  US_ASSIGN(auto heartbeat, document.table("heartbeat"));
  US_TRY(read_link(std::move(heartbeat), config.heartbeat));
  US_ASSIGN(auto etcd, document.optional_table("etcd"));
  US_ASSIGN(auto witness, document.optional_table("witness"));
  US_ASSIGN(auto manual, document.optional_table("manual"));
  if (etcd && witness) return etcd->at("beside [witness]", "a pair has one arbiter: expected one of the two");
  if (manual && (etcd || witness)) return manual->at("beside another arbiter", "a pair has one arbiter: expected one of them");
  if (!etcd && !witness && !manual)
    return Error{ErrorCode::kInvalid, fmt::format("{}: expected a table [witness], [etcd] or [manual], found none", name)};
  if (manual) {
    config.manual = true;
    US_TRY(manual->nothing_else());
  } else if (etcd) {
    US_TRY(read_etcd(std::move(*etcd), config.etcd.emplace()));
  } else {
    US_ASSIGN(config.witness, read_endpoint(*witness, "endpoint"));
    US_TRY(witness->nothing_else());
  }
  US_ASSIGN(auto security, document.optional_table("security"));
  US_TRY(read_security(std::move(security), name, !config.witness.empty(), config.security));
  US_ASSIGN(auto control, document.optional_table("control"));
  if (control) US_TRY(read_control(std::move(*control), config.control));
  US_ASSIGN(auto state, document.table("state"));
  US_ASSIGN(config.state_dir, state.required_text("dir"));
  US_ASSIGN(config.socket, state.required_text("socket"));
  // struct sockaddr_un holds 108 bytes, the terminating zero included: unix(7).
  if (config.socket.string().size() > 107) return state.at("socket", "expected a path of at most 107 bytes");
  US_TRY(state.nothing_else());
  US_ASSIGN(auto fencing, document.optional_table("fencing"));
  if (fencing) US_TRY(read_fencing(std::move(*fencing), config.fencing));
  US_ASSIGN(auto watchdog, document.optional_table("watchdog"));
  if (watchdog) US_TRY(read_watchdog(std::move(*watchdog), config.watchdog.emplace()));
  US_ASSIGN(auto timing, document.optional_table("timing"));
  if (timing) US_TRY(read_timing(std::move(*timing), config.timing));
  config.pacing.longest = config.timing.epoch;
  US_ASSIGN(auto pacing, document.optional_table("pacing"));
  if (pacing) US_TRY(read_pacing(std::move(*pacing), config.pacing));
  US_ASSIGN(auto probes, document.optional_table("probes"));
  if (probes) US_TRY(read_probes(std::move(*probes), config.probes));
  US_ASSIGN(auto log_section, document.optional_table("log"));
  if (log_section) US_TRY(read_log(std::move(*log_section), config.log));
  return config;
}

Result<DaemonConfig> load_config(const std::filesystem::path& path) {
  std::ifstream file{path, std::ios::binary};
  if (!file) return Error::from_errno("read configuration " + path.string());
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kMaxFileBytes)
    return Error{ErrorCode::kInvalid, "read configuration " + path.string() + ": larger than 1 MiB, so hardly a configuration"};
  US_ASSIGN(auto config, parse_config(text, path.string()));
  if (auto loaded = load_key(config.security); !loaded) return std::move(loaded.error()).within(path.string());
  return config;
}

}  // namespace understudy
