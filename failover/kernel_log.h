// What the host's kernel says in its log, and which paths it thereby calls sick: rules, and the lines that they match. Pure.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "failover/probe.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"

namespace understudy {

struct KernelLogRule {
  std::string pattern;  // POSIX extended regular expression (regex(7)), sought in the message alone
  bool failed = false;  // a suspicion, which counts as failed where the other node is well; else degraded
  ProbePath path = ProbePath::kKernel;
  std::optional<Duration> counts_for{};  // since the latest such line; nullopt: until this daemon is started again
};

// What is watched for where no rules are configured. An oops, a BUG and an uncorrected machine check count for good: the kernel
// stopped one of its threads in the middle of what it did, so locks stay taken and memory may be wrong, and only a reboot mends that.
// Errors of a device age out, since the path's own probe tells whether it works now. They are degraded, since which device they are of may
// not matter.
std::vector<KernelLogRule> default_kernel_log_rules();

class KernelLogWatch {
 public:
  // @service_nic@ and @replication_nic@ in a pattern stand for these interfaces' names; a rule that needs an empty one never matches. The
  // first rule that matches a line counts. kInvalid names a pattern that is none.
  static Result<KernelLogWatch> create(std::span<const KernelLogRule> rules, const std::string& service_nic,
                                       const std::string& replication_nic);

  void line(Instant now, std::string_view message);
  // One of the path "kernel", and one of each other path that a line ever spoke of.
  std::vector<ProbeReport> reports(Instant now) const;

 private:
  struct Compiled {
    std::shared_ptr<void> regex;  // regex_t
    KernelLogRule rule;
  };
  struct Evidence {
    Instant at;
    std::string text;
    unsigned lines = 0;
  };
  std::vector<Compiled> rules_;
  std::map<std::size_t, Evidence> evidence_;  // by rule
};

// The message of a record as /dev/kmsg gives it ("3,1234,5678,-;message\n KEY=value"; Documentation/ABI/testing/dev-kmsg), or of a plain
// line. nullopt: not the kernel's own (a process may write there, too: its facility is never 0).
std::optional<std::string_view> kernel_message(std::string_view record);

// Where the records come from: /dev/kmsg, or a file or FIFO of lines in its place. Only what is written from now on.
class KernelLogSource {
 public:
  static Result<KernelLogSource> open(const std::string& path);
  // Those that are there; never waits. At most 10,000.
  std::vector<std::string> read();

 private:
  KernelLogSource(UniqueFd fd, bool records) : fd_{std::move(fd)}, records_{records} {}
  UniqueFd fd_;
  bool records_;  // each read() gives one record, else lines
  std::string partial_;
};

}  // namespace understudy
