// A VMM that is measured: its process, and its guest's console as it comes. Killed when it goes out of scope.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <sys/types.h>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"

namespace understudy::bench {

// One thread.
class VmmProcess {
 public:
  // Files that the process is to see by /proc/self/fd/N are left open by the caller, without O_CLOEXEC.
  static Result<std::unique_ptr<VmmProcess>> start(const Clock& clock, const std::vector<std::string>& command);
  ~VmmProcess();
  VmmProcess(const VmmProcess&) = delete;
  VmmProcess& operator=(const VmmProcess&) = delete;

  pid_t pid() const { return pid_; }
  // Immediately before the process was made.
  Instant started_at() const { return started_at_; }
  // When the console had shown `text`. kTimeout: not within `deadline` (of now); kUnavailable: the process ended, or its guest says that it
  // failed (kFailedLine); the error tells the console's end and what the VMM said.
  Result<Instant> wait_for(const std::string& text, Duration deadline);
  // What it said on standard error, and the console's end.
  std::string last_words() const;

 private:
  VmmProcess(const Clock& clock, UniqueFd console, UniqueFd errors)
      : clock_{clock}, console_{std::move(console)}, errors_{std::move(errors)} {}
  const Clock& clock_;
  const UniqueFd console_;
  const UniqueFd errors_;
  Instant started_at_{};
  pid_t pid_ = -1;
  std::string shown_;
};

}  // namespace understudy::bench
