// A probe of the operator's own: a command whose exit code is the finding, and the last line of its output the words.
#pragma once

#include <string>

#include <sys/types.h>

#include "failover/probe.h"
#include "net/base/result.h"

namespace understudy {

// How a command ended.
struct CommandOutcome {
  enum class End : std::uint8_t { kExited, kSignalled, kKilled, kStuck, kNotStarted };
  End end = End::kExited;
  int code = 0;             // exit code or signal
  std::string last_line{};  // of its output, what is not printable replaced; at most 150 bytes
};

// 0 healthy, 1 degraded, anything else a failure, as monitoring plugins have it (Nagios' OK, WARNING, CRITICAL). What ran out of its
// deadline, or died of a signal, failed. A failure is a suspicion: where the other node has the same probe and it fails there, too, the
// guest stays. Pure.
ProbeReport judge_command(const std::string& name, ProbePath path, const CommandOutcome& outcome, Duration deadline);

// Runs /bin/sh -c COMMAND in a process group of its own, with no input. At the deadline the group is killed; a process that is stuck in the
// kernel is abandoned, and no other is started beside it.
class CommandProbe {
 public:
  CommandProbe(std::string name, ProbePath path, std::string command, Duration deadline)
      : name_{std::move(name)}, path_{path}, command_{std::move(command)}, deadline_{deadline} {}
  ~CommandProbe();
  CommandProbe(const CommandProbe&) = delete;
  CommandProbe& operator=(const CommandProbe&) = delete;

  ProbeReport exercise() { return judge_command(name_, path_, run(), deadline_); }

 private:
  CommandOutcome run();
  bool reaped(int& status);

  const std::string name_;
  const ProbePath path_;
  const std::string command_;
  const Duration deadline_;
  pid_t pid_ = -1;  // of one that was not reaped yet
};

}  // namespace understudy
