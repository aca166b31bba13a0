// QEMU's control socket (docs/interop/qmp-spec.txt): commands, their answers, and the events between.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"

namespace understudy::bench {

// One thread.
class Qmp {
 public:
  // Connects as soon as somebody listens at `path`, and enters the command mode. kTimeout after `deadline`.
  static Result<std::unique_ptr<Qmp>> connect(const Clock& clock, const std::filesystem::path& path, Duration deadline);

  // `arguments`: a JSON object, or empty. The answer's line; kFailed with what QEMU says.
  Result<std::string> ask(const std::string& command, const std::string& arguments = "");
  // Until an event of this name comes, or came since the last ask().
  Result<void> wait_for_event(const std::string& name);
  // Asks `query` (query-migrate, query-status) until its answer has this status. kFailed when that is "failed".
  Result<void> wait_for_status(const std::string& query, const std::string& status);

 private:
  Qmp(const Clock& clock, UniqueFd socket, Duration deadline) : clock_{clock}, socket_{std::move(socket)}, deadline_{deadline} {}
  Result<std::string> next_line(Instant give_up_at);

  const Clock& clock_;
  const UniqueFd socket_;
  const Duration deadline_;
  std::string received_;
  std::string events_;
};

}  // namespace understudy::bench
