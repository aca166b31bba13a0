#include "failover/probe_command.h"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/wait.h>

#include "net/base/unique_fd.h"

namespace understudy {

namespace {

constexpr std::size_t kMostOutputBytes = 150;
constexpr int kPollMs = 10;
constexpr Duration kKillGrace = std::chrono::milliseconds{200};  // for a killed one to be gone; then it is stuck

// Keeps the last line that is not empty, however much is written.
class LastLine {
 public:
  void add(std::string_view chunk) {
    for (const char c : chunk) {
      if (c == '\n') {
        if (!line_.empty()) last_ = std::exchange(line_, {});
      } else if (line_.size() < kMostOutputBytes) {
        line_ += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
      }
    }
  }
  std::string take() { return line_.empty() ? last_ : line_; }

 private:
  std::string line_;
  std::string last_;
};

// False at its end.
bool read_what_is_there(int fd, LastLine& line) {
  std::array<char, 4096> buffer;
  for (int i = 0; i < 64; ++i) {
    const ssize_t bytes = ::read(fd, buffer.data(), buffer.size());
    if (bytes < 0) return errno == EAGAIN || errno == EINTR;
    if (bytes == 0) return false;
    line.add({buffer.data(), static_cast<std::size_t>(bytes)});
  }
  return true;
}

}  // namespace

ProbeReport judge_command(const std::string& name, ProbePath path, const CommandOutcome& outcome, Duration deadline) {
  ProbeReport report{.path = path, .health = Health::kDegraded, .text = name + ": "};
  using enum CommandOutcome::End;
  switch (outcome.end) {
    case kExited:
      if (outcome.code == 0) report.health = Health::kHealthy;
      report.suspected = outcome.code > 1;
      report.text += outcome.code == 0 ? "well" : "exit code " + std::to_string(outcome.code);
      break;
    case kSignalled:
      report.suspected = true;
      report.text += "ended by signal " + std::to_string(outcome.code);
      break;
    case kKilled:
      report.suspected = true;
      report.text += "not done within " + ms_text(deadline) + ", and killed";
      break;
    case kStuck:
      report.suspected = true;
      report.text += "not done within " + ms_text(deadline) + ", and stuck in the kernel";
      break;
    case kNotStarted:
      report.suspected = true;
      report.text += "could not be started";
      break;
  }
  if (!outcome.last_line.empty()) report.text += ": " + outcome.last_line;
  return report;
}

CommandProbe::~CommandProbe() {
  if (pid_ > 0) ::kill(-pid_, SIGKILL);
}

bool CommandProbe::reaped(int& status) {
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return false;
  ::kill(-pid_, SIGKILL);  // what it left running in its group
  pid_ = -1;
  return true;
}

CommandOutcome CommandProbe::run() {
  int status = 0;
  if (pid_ > 0 && !reaped(status)) return {.end = CommandOutcome::End::kStuck, .code = 0, .last_line = {}};
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return {.end = CommandOutcome::End::kNotStarted, .code = errno, .last_line = {}};
  const UniqueFd output{ends[0]};
  UniqueFd input{ends[1]};
  ::fcntl(output.get(), F_SETFL, O_NONBLOCK);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {
    // Nothing here but what is safe between fork and exec: signal-safety(7).
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    for (const int number : {SIGPIPE, SIGINT, SIGTERM}) ::signal(number, SIG_DFL);
    const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (nothing >= 0) ::dup2(nothing, STDIN_FILENO);
    ::dup2(input.get(), STDOUT_FILENO);
    ::dup2(input.get(), STDERR_FILENO);
    ::execl("/bin/sh", "sh", "-c", command_.c_str(), nullptr);
    ::_exit(127);
  }
  input.reset();
  if (pid_ < 0) return {.end = CommandOutcome::End::kNotStarted, .code = errno, .last_line = {}};
  ::setpgid(pid_, pid_);  // here as well: whoever is first

  const MonotonicClock clock;
  const Instant deadline = clock.now() + deadline_;
  LastLine line;
  bool open = true;
  bool killed = false;
  while (true) {
    pollfd one{.fd = open ? output.get() : -1, .events = POLLIN, .revents = 0};
    ::poll(&one, 1, kPollMs);
    if (open) open = read_what_is_there(output.get(), line);
    if (reaped(status)) break;
    if (!killed && clock.now() >= deadline) {
      killed = true;
      ::kill(-pid_, SIGKILL);
    }
    if (killed && clock.now() >= deadline + kKillGrace) return {.end = CommandOutcome::End::kStuck, .code = 0, .last_line = line.take()};
  }
  if (open) read_what_is_there(output.get(), line);
  if (killed) return {.end = CommandOutcome::End::kKilled, .code = 0, .last_line = line.take()};
  if (WIFSIGNALED(status)) return {.end = CommandOutcome::End::kSignalled, .code = WTERMSIG(status), .last_line = line.take()};
  return {.end = CommandOutcome::End::kExited, .code = WEXITSTATUS(status), .last_line = line.take()};
}

}  // namespace understudy
