#include "tests/benchmarks/vmm_process.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <unistd.h>

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/benchmarks/guest_protocol.h"

namespace understudy::bench {

namespace {

constexpr std::size_t kLastBytes = 2000;

std::string end_of(std::string_view text) { return std::string{text.substr(text.size() - std::min(text.size(), kLastBytes))}; }

}  // namespace

Result<std::unique_ptr<VmmProcess>> VmmProcess::start(const Clock& clock, const std::vector<std::string>& command) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return Error::from_errno("pipe");
  UniqueFd console{ends[0]};
  const UniqueFd guests_end{ends[1]};
  UniqueFd errors{::memfd_create("vmm-errors", MFD_CLOEXEC)};
  if (!errors) return Error::from_errno("memfd_create");

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, guests_end.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, errors.get(), STDERR_FILENO);
  std::vector<char*> arguments;
  for (const auto& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);

  std::unique_ptr<VmmProcess> process{new VmmProcess{clock, std::move(console), std::move(errors)}};
  process->started_at_ = clock.now();
  const int failed = ::posix_spawnp(&process->pid_, arguments[0], &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) {
    process->pid_ = -1;
    return Error::from_errno("start " + command.front(), failed);
  }
  return process;
}

VmmProcess::~VmmProcess() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::string VmmProcess::last_words() const {
  std::string said(kLastBytes, '\0');
  const auto size = ::lseek(errors_.get(), 0, SEEK_END);
  const auto from = std::max<off_t>(0, size - static_cast<off_t>(kLastBytes));
  const auto got = ::pread(errors_.get(), said.data(), said.size(), from);
  said.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return fmt::format("it said '{}', and on the console '{}'", said, end_of(shown_));
}

Result<Instant> VmmProcess::wait_for(const std::string& text, Duration deadline) {
  const Instant give_up_at = clock_.now() + deadline;
  while (true) {
    const Duration left = give_up_at - clock_.now();
    pollfd readable{.fd = console_.get(), .events = POLLIN, .revents = 0};
    if (left <= Duration{0} || ::poll(&readable, 1, static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(left).count())) <= 0)
      return Error{ErrorCode::kTimeout, fmt::format("'{}' did not come within {:.0f} ms; {}", text, to_ms(deadline), last_words())};
    char buffer[4096];
    const auto got = ::read(console_.get(), buffer, sizeof buffer);
    const Instant now = clock_.now();
    if (got <= 0) return Error{ErrorCode::kUnavailable, fmt::format("it ended before '{}' came; {}", text, last_words())};
    shown_.append(buffer, static_cast<std::size_t>(got));
    if (shown_.find(kFailedLine) != std::string::npos)
      return Error{ErrorCode::kUnavailable, fmt::format("its guest failed; {}", last_words())};
    if (shown_.find(text) != std::string::npos) return now;
  }
}

}  // namespace understudy::bench
