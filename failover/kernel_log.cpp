#include "failover/kernel_log.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <fcntl.h>
#include <regex.h>
#include <unistd.h>

#include <sys/stat.h>

namespace understudy {

namespace {

constexpr std::size_t kMostRecords = 10'000;
constexpr std::size_t kMostLineBytes = 1024;  // matched, and kept: what a pattern seeks stands at a line's beginning
constexpr std::size_t kMostTextBytes = 150;

constexpr Duration kMinute = std::chrono::minutes{1};
constexpr Duration kTenMinutes = std::chrono::minutes{10};

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) text.replace(at, what.size(), by);
}

// An interface's name as a pattern that means just it.
std::string escaped(const std::string& name) {
  std::string out;
  for (const char c : name) {
    if (std::string_view{".[]*^$+?{}|()\\"}.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string printable_start(std::string_view line) {
  std::string out{line.substr(0, kMostTextBytes)};
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return out;
}

}  // namespace

std::vector<KernelLogRule> default_kernel_log_rules() {
  using enum ProbePath;
  return {
      // The kernel itself.
      {R"(^(Internal error: )?Oops[: ])", true, kKernel, {}},
      {R"(^(kernel )?BUG (at |in )|^BUG: (unable to handle|kernel |Bad page|Bad rss|KASAN|sleeping function|scheduling while atomic|workqueue leaked))",
       true,
       kKernel,
       {}},
      {R"(^general protection fault|^stack segment: |^Kernel panic|^Fixing recursive fault)", true, kKernel, {}},
      {R"(hard LOCKUP on cpu)", true, kKernel, {}},
      {R"(Hardware Error.*(PROCESSOR CONTEXT CORRUPT|[Uu]ncorrected|[Ff]atal))", true, kKernel, {}},
      {R"(^Memory failure: .*(Failed|Ignored))", true, kMemory, {}},
      {R"(\[Hardware Error\]|^EDAC .*(CE|UE) )", false, kKernel, kTenMinutes},
      {R"(soft lockup|^rcu: .*(stall|self-detected)|rcu_(sched|preempt).* detected stalls)", false, kKernel, kMinute},
      {R"(^INFO: task .* blocked for more than)", false, kKernel, std::chrono::minutes{5}},
      // Memory.
      {R"(ut of memory: Killed process [0-9]+ \((understudyd|vcpu[0-9]+)\))", true, kMemory, kTenMinutes},
      {R"(ut of memory: Killed process|^oom-kill:)", false, kMemory, kMinute},
      // Disks and file systems.
      {R"(I/O error|critical (medium|target|space allocation) error|Medium Error|Hardware Error\])", false, kStorage, kMinute},
      {R"(^(EXT4-fs|BTRFS|F2FS-fs|JBD2)[: (].*([Ee]rror|[Rr]emounting|[Aa]bort)|^XFS \(.*([Cc]orrupt|[Ss]hutting down|I/O))", false,
       kStorage, kMinute},
      {R"(^nvme nvme[0-9]+: .*(timeout|abort|resetting|removing)|^ata[0-9.]+: .*(failed|exception|error|reset))", false, kStorage, kMinute},
      {R"(^(device-mapper|md/raid|dm-[0-9]+).*([Ff]ail|[Ee]rror))", false, kStorage, kMinute},
      // NICs.
      {R"(NETDEV WATCHDOG: @service_nic@ |@service_nic@: .*([Hh]ardware [Uu]nit [Hh]ang|[Tt]x [Tt]imeout|TX timeout|[Ff]atal|firmware (error|hang)|[Rr]eset(ting)? adapter))",
       false, kServiceNic, kMinute},
      {R"(NETDEV WATCHDOG: @replication_nic@ |@replication_nic@: .*([Hh]ardware [Uu]nit [Hh]ang|[Tt]x [Tt]imeout|TX timeout|[Ff]atal|firmware (error|hang)|[Rr]eset(ting)? adapter))",
       false, kReplicationNic, kMinute},
      {R"(NETDEV WATCHDOG: )", false, kKernel, kMinute},
  };
}

Result<KernelLogWatch> KernelLogWatch::create(std::span<const KernelLogRule> rules, const std::string& service_nic,
                                              const std::string& replication_nic) {
  KernelLogWatch watch;
  for (const KernelLogRule& rule : rules) {
    const auto needs = [&rule](std::string_view what) { return rule.pattern.find(what) != std::string::npos; };
    if ((needs("@service_nic@") && service_nic.empty()) || (needs("@replication_nic@") && replication_nic.empty())) continue;
    std::string pattern = rule.pattern;
    replace_all(pattern, "@service_nic@", escaped(service_nic));
    replace_all(pattern, "@replication_nic@", escaped(replication_nic));
    auto compiled = std::make_unique<regex_t>();
    if (const int error = ::regcomp(compiled.get(), pattern.c_str(), REG_EXTENDED | REG_NOSUB); error != 0) {
      std::array<char, 200> why{};
      ::regerror(error, compiled.get(), why.data(), why.size());
      return Error{ErrorCode::kInvalid, "\"" + rule.pattern + "\" is no extended regular expression: " + why.data()};
    }
    watch.rules_.push_back({std::shared_ptr<void>{compiled.release(),
                                                  [](void* regex) {
                                                    ::regfree(static_cast<regex_t*>(regex));
                                                    delete static_cast<regex_t*>(regex);
                                                  }},
                            rule});
  }
  return watch;
}

void KernelLogWatch::line(Instant now, std::string_view message) {
  std::string text{message.substr(0, kMostLineBytes)};
  std::ranges::replace(text, '\0', ' ');
  for (std::size_t i = 0; i < rules_.size(); ++i) {
    if (::regexec(static_cast<const regex_t*>(rules_[i].regex.get()), text.c_str(), 0, nullptr, 0) != 0) continue;
    Evidence& evidence = evidence_[i];
    evidence.at = now;
    // The first of a storm is what caused it.
    if (evidence.lines++ == 0) evidence.text = printable_start(text);
    return;
  }
}

std::vector<ProbeReport> KernelLogWatch::reports(Instant now) const {
  std::vector<ProbeReport> reports{{.path = ProbePath::kKernel,
                                    .health = Health::kHealthy,
                                    .started_at = now,
                                    .completed_at = now,
                                    .text = "nothing of note in its log"}};
  for (const auto& [index, evidence] : evidence_) {
    const KernelLogRule& rule = rules_[index].rule;
    auto report = std::ranges::find_if(reports, [&rule](const ProbeReport& one) { return one.path == rule.path; });
    if (report == reports.end())
      report = reports.insert(report, {.path = rule.path, .health = Health::kHealthy, .started_at = now, .completed_at = now, .text = {}});
    if (rule.counts_for && now - evidence.at > *rule.counts_for) continue;
    if (report->health == Health::kDegraded && (report->suspected || !rule.failed)) continue;
    report->health = Health::kDegraded;
    report->suspected = rule.failed;
    report->text = "the kernel says: " + evidence.text;
    if (evidence.lines > 1) report->text += " (and " + std::to_string(evidence.lines - 1) + " more)";
  }
  return reports;
}

std::optional<std::string_view> kernel_message(std::string_view record) {
  const std::size_t end = record.find(';');
  const std::size_t digits = record.find_first_not_of("0123456789");
  const bool structured = end != std::string_view::npos && digits != 0 && digits < end && record[digits] == ',' &&
                          std::ranges::count(record.substr(0, end), ',') >= 3;
  if (structured) {
    unsigned priority = 0;
    std::from_chars(record.data(), record.data() + digits, priority);
    if (priority >> 3 != 0) return std::nullopt;
    record.remove_prefix(end + 1);
  }
  return record.substr(0, record.find('\n'));
}

Result<KernelLogSource> KernelLogSource::open(const std::string& path) {
  struct stat status {};
  const std::string operation = "read the kernel's log " + path;
  if (::stat(path.c_str(), &status) < 0) return Error::from_errno(operation);
  // A FIFO is opened for writing, too: so it never ends, whoever comes and goes at its other end.
  KernelLogSource source{UniqueFd{::open(path.c_str(), (S_ISFIFO(status.st_mode) ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_CLOEXEC)},
                         S_ISCHR(status.st_mode)};
  if (!source.fd_) return Error::from_errno(operation);
  if (!S_ISFIFO(status.st_mode) && ::lseek(source.fd_.get(), 0, SEEK_END) < 0) return Error::from_errno(operation);
  return source;
}

std::vector<std::string> KernelLogSource::read() {
  std::vector<std::string> found;
  std::array<char, 16384> buffer;
  while (found.size() < kMostRecords) {
    const ssize_t bytes = ::read(fd_.get(), buffer.data(), buffer.size());
    if (bytes < 0 && (errno == EPIPE || errno == EINTR)) continue;  // EPIPE: records were overwritten before they were read
    if (bytes <= 0) break;
    const std::string_view chunk{buffer.data(), static_cast<std::size_t>(bytes)};
    if (records_) {
      found.emplace_back(chunk);
      continue;
    }
    partial_ += chunk;
    std::size_t from = 0;
    for (std::size_t end = partial_.find('\n'); end != std::string::npos; end = partial_.find('\n', from)) {
      found.push_back(partial_.substr(from, end - from));
      from = end + 1;
    }
    partial_.erase(0, from);
    if (partial_.size() > buffer.size()) partial_.clear();
  }
  return found;
}

}  // namespace understudy
