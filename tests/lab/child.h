// A process of the lab: started in a machine of the lab with its output in a file, signalled, and reaped. Dies with this process.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "net/base/clock.h"
#include "net/base/result.h"

namespace understudy::lab {

class Child {
 public:
  struct Options {
    std::string name;               // for messages: "understudyd on host-a"
    std::string network_namespace;  // empty: the caller's
    std::vector<std::string> command;
    std::filesystem::path log;  // its standard output and error
  };
  // Call from the thread that lives as long as the child may: the kernel kills the child when that thread ends.
  static Result<std::unique_ptr<Child>> start(Options options);
  ~Child();  // kills it
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  const std::string& name() const { return options_.name; }
  pid_t pid() const { return pid_; }
  // Sends `signal_number`; nothing if it has ended.
  void signal(int signal_number);
  // How it ended ("exited with status 1", "was killed by SIGKILL"); nullopt while it runs.
  std::optional<std::string> ending();
  std::string last_log_lines(std::size_t count) const;

 private:
  Child(Options options, pid_t pid) : options_{std::move(options)}, pid_{pid} {}
  const Options options_;
  const pid_t pid_;
  std::optional<std::string> ending_;
};

// Runs a command to its end; its standard output, or an error with what it said. kTimeout after `deadline`: it is killed then.
Result<std::string> run_command(const Clock& clock, const std::vector<std::string>& command, Duration deadline);

}  // namespace understudy::lab
