#include "tests/lab/child.h"

#include <csignal>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <fstream>
#include <poll.h>
#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "net/base/unique_fd.h"

namespace understudy::lab {

namespace {

std::vector<char*> arguments_of(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const auto& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  return arguments;
}

// Between fork and exec: only async-signal-safe calls.
[[noreturn]] void become(char* const* arguments, int output_fd) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::dup2(output_fd, STDOUT_FILENO);
  ::dup2(output_fd, STDERR_FILENO);
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::dup2(nothing, STDIN_FILENO);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal_number : {SIGINT, SIGTERM, SIGPIPE}) ::signal(signal_number, SIG_DFL);
  ::execvp(arguments[0], arguments);
  constexpr char kSaid[] = "the program could not be executed\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kSaid, sizeof kSaid - 1);
  ::_exit(127);
}

std::string describe(int status) {
  if (WIFEXITED(status)) return fmt::format("exited with status {}", WEXITSTATUS(status));
  const char* const name = ::sigabbrev_np(WTERMSIG(status));
  return fmt::format("was killed by SIG{}", name != nullptr ? name : "?");
}

}  // namespace

Result<std::unique_ptr<Child>> Child::start(Options options) {
  const UniqueFd log{::open(options.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)};
  if (!log) return Error::from_errno("open log " + options.log.string());
  // `ip netns exec` also shows the machine's own /sys, and replaces itself by the program: the process keeps its id.
  std::vector<std::string> command = options.command;
  if (!options.network_namespace.empty()) {
    const std::string prefix[] = {"ip", "netns", "exec", options.network_namespace};
    command.insert(command.begin(), std::begin(prefix), std::end(prefix));
  }
  const auto arguments = arguments_of(command);
  const pid_t pid = ::fork();
  if (pid < 0) return Error::from_errno("start " + options.name);
  if (pid == 0) become(arguments.data(), log.get());
  return std::unique_ptr<Child>{new Child{std::move(options), pid}};
}

Child::~Child() {
  if (ending()) return;
  ::kill(pid_, SIGKILL);
  ::kill(pid_, SIGCONT);
  ::waitpid(pid_, nullptr, 0);
}

void Child::signal(int signal_number) {
  if (!ending()) ::kill(pid_, signal_number);
}

std::optional<std::string> Child::ending() {
  int status = 0;
  if (!ending_ && ::waitpid(pid_, &status, WNOHANG) == pid_) ending_ = describe(status);
  return ending_;
}

std::string Child::last_log_lines(std::size_t count) const {
  std::ifstream file{options_.log};
  std::deque<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(std::move(line));
    if (lines.size() > count) lines.pop_front();
  }
  return fmt::format("{}", fmt::join(lines, "\n"));
}

Result<std::string> run_command(const Clock& clock, const std::vector<std::string>& command, Duration deadline) {
  constexpr std::size_t kMaxOutputBytes = std::size_t{4} << 20;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return Error::from_errno("pipe");
  const UniqueFd output{ends[0]};
  UniqueFd input{ends[1]};
  const auto arguments = arguments_of(command);
  const Instant give_up_at = clock.now() + deadline;
  const pid_t pid = ::fork();
  if (pid < 0) return Error::from_errno("start " + command.front());
  if (pid == 0) become(arguments.data(), input.get());
  input.reset();

  std::string text;
  bool in_time = true;
  while (text.size() < kMaxOutputBytes) {
    const Duration left = give_up_at - clock.now();
    pollfd readable{.fd = output.get(), .events = POLLIN, .revents = 0};
    in_time = left > Duration{0} && ::poll(&readable, 1, static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(left).count())) > 0;
    if (!in_time) break;
    char buffer[16384];
    const auto received = ::read(output.get(), buffer, sizeof buffer);
    if (received <= 0) break;
    text.append(buffer, static_cast<std::size_t>(received));
  }
  if (!in_time) ::kill(pid, SIGKILL);
  int status = 0;
  ::waitpid(pid, &status, 0);
  const std::string words = fmt::format("{}", fmt::join(command, " "));
  if (!in_time) return Error{ErrorCode::kTimeout, fmt::format("'{}' gave no answer within {} ms", words, to_ms(deadline))};
  if (status != 0) return Error{ErrorCode::kFailed, fmt::format("'{}' {}: {}", words, describe(status), text)};
  return text;
}

}  // namespace understudy::lab
