#include "failover/daemon/probe_config.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>

#include <fmt/format.h>

#include "failover/daemon/toml_section.h"

namespace understudy {

namespace {

constexpr std::size_t kMostEchoTargets = 4;
constexpr std::size_t kMostCommands = 16;

Result<ProbePath> read_path(TomlSection& in, ProbePath otherwise) {
  US_ASSIGN(const auto name, in.optional_text("path"));
  if (!name) return otherwise;
  const auto path = probe_path_of(*name);
  // KVM's own path is not probed: it fails when KVM gave up on the guest.
  if (path && *path != ProbePath::kMachine) return *path;
  std::string names;
  for (std::size_t i = 0; i < kProbePathCount; ++i)
    if (const auto known = static_cast<ProbePath>(i); known != ProbePath::kMachine)
      names += (names.empty() ? "\"" : ", \"") + std::string{name_of(known)} + '"';
  return in.at("path", fmt::format("expected one of {}, found \"{}\"", names, *name));
}

Result<void> read_command(TomlSection in, std::vector<CommandProbeConfig>& out) {
  CommandProbeConfig probe;
  US_ASSIGN(probe.name, in.required_text("name"));
  const bool plain = std::ranges::all_of(probe.name, [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; });
  if (!plain || probe.name.size() > 32)
    return in.at("name", fmt::format("expected 1 to 32 letters, digits, - or _, found \"{}\"", probe.name));
  if (std::ranges::any_of(out, [&](const CommandProbeConfig& other) { return other.name == probe.name; }))
    return in.at("name", fmt::format("\"{}\" names a probe above already", probe.name));
  US_ASSIGN(probe.command, in.required_text("command"));
  US_ASSIGN(const auto period, in.whole_number("period_ms", 100, 3'600'000));
  if (period) probe.period = std::chrono::milliseconds{*period};
  US_ASSIGN(const auto deadline, in.whole_number("deadline_ms", 50, 600'000));
  if (deadline) probe.deadline = std::chrono::milliseconds{*deadline};
  US_ASSIGN(const auto failures, in.whole_number("failures", 1, 100));
  if (failures) probe.hysteresis.failures = static_cast<unsigned>(*failures);
  US_ASSIGN(const auto successes, in.whole_number("successes", 1, 100));
  if (successes) probe.hysteresis.successes = static_cast<unsigned>(*successes);
  US_ASSIGN(probe.path, read_path(in, probe.path));
  out.push_back(std::move(probe));
  return in.nothing_else();
}

}  // namespace

Result<void> read_probes(TomlSection in, ProbesConfig& out) {
  US_ASSIGN(const auto targets, in.optional_texts("echo_target", kMostEchoTargets));
  for (const std::string& text : targets) {
    const auto address = Ipv4Address::parse(text);
    if (!address) return in.at("echo_target", fmt::format("expected IPv4 addresses like \"10.0.0.1\", found \"{}\"", text));
    out.echo_targets.push_back(*address);
  }
  US_ASSIGN(const auto lost, in.whole_number("echo_lost_ms", 200, 600'000));
  if (lost) out.echo_lost = std::chrono::milliseconds{*lost};
  US_ASSIGN(auto nic, in.optional_text("replication_nic"));
  out.replication_nic = std::move(nic).value_or("");
  US_ASSIGN(auto kernel_log, in.optional_text("kernel_log"));
  if (kernel_log == "off")
    out.watch_kernel_log = false;
  else if (kernel_log)
    out.kernel_log = *kernel_log;
  US_ASSIGN(auto rules, in.optional_text("kernel_log_rules"));
  if (rules) {
    out.kernel_log_rules = *rules;
    if (auto loaded = load_kernel_log_rules(*rules); !loaded) return std::move(loaded.error());
  }
  US_ASSIGN(auto pressure, in.optional_text("memory_pressure"));
  if (pressure) out.memory_pressure = *pressure;
  US_ASSIGN(const auto percent, in.whole_number("memory_pressure_percent", 1, 100));
  if (percent) out.memory_pressure_percent = *percent;
  US_ASSIGN(auto commands, in.tables("command"));
  if (commands.size() > kMostCommands) return in.at("command", fmt::format("expected at most {} of them", kMostCommands));
  for (TomlSection& command : commands) US_TRY(read_command(std::move(command), out.commands));
  return in.nothing_else();
}

Result<std::vector<KernelLogRule>> parse_kernel_log_rules(std::string_view text, std::string_view name) {
  toml::table root;
  try {
    root = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    return Error{ErrorCode::kInvalid, fmt::format("{}:{}: not TOML: {}", name, error.source().begin.line, error.description())};
  }
  TomlSection file{name, "the file of kernel log rules", root};
  US_ASSIGN(auto tables, file.tables("rule"));
  US_TRY(file.nothing_else());
  std::vector<KernelLogRule> rules;
  for (TomlSection& in : tables) {
    KernelLogRule rule;
    US_ASSIGN(rule.pattern, in.required_text("pattern"));
    US_ASSIGN(const auto severity, in.required_text("severity"));
    if (severity != "failed" && severity != "degraded")
      return in.at("severity", fmt::format("expected \"failed\" or \"degraded\", found \"{}\"", severity));
    rule.failed = severity == "failed";
    US_ASSIGN(rule.path, read_path(in, rule.path));
    US_ASSIGN(const auto seconds, in.whole_number("counts_for_s", 1, 86'400));
    if (seconds) rule.counts_for = std::chrono::seconds{*seconds};
    if (auto compiled = KernelLogWatch::create({&rule, 1}, "nic", "nic"); !compiled) return in.at("pattern", compiled.error().text());
    US_TRY(in.nothing_else());
    rules.push_back(std::move(rule));
  }
  return rules;
}

Result<std::vector<KernelLogRule>> load_kernel_log_rules(const std::filesystem::path& path) {
  std::ifstream file{path, std::ios::binary};
  if (!file) return Error::from_errno("read the kernel log rules " + path.string());
  const std::string text{std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
  return parse_kernel_log_rules(text, path.string());
}

}  // namespace understudy
