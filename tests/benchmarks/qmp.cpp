#include "tests/benchmarks/qmp.h"

#include <cstring>
#include <poll.h>
#include <thread>
#include <unistd.h>

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace understudy::bench {

namespace {

constexpr Duration kPatience = std::chrono::milliseconds{5};

std::string quoted(const std::string& text) { return '"' + text + '"'; }

}  // namespace

Result<std::unique_ptr<Qmp>> Qmp::connect(const Clock& clock, const std::filesystem::path& path, Duration deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.string().size() >= sizeof address.sun_path)
    return Error{ErrorCode::kInvalid, "the path of a socket is too long: " + path.string()};
  std::strcpy(address.sun_path, path.c_str());
  const Instant give_up_at = clock.now() + deadline;
  while (true) {
    UniqueFd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!socket) return Error::from_errno("open a socket");
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      std::unique_ptr<Qmp> qmp{new Qmp{clock, std::move(socket), deadline}};
      US_TRY(qmp->next_line(give_up_at));  // its greeting
      US_TRY(qmp->ask("qmp_capabilities"));
      return qmp;
    }
    if (clock.now() >= give_up_at) return Error::from_errno("connect to QEMU at " + path.string());
    std::this_thread::sleep_for(kPatience);
  }
}

Result<std::string> Qmp::next_line(Instant give_up_at) {
  while (true) {
    if (const auto end = received_.find('\n'); end != std::string::npos) {
      std::string line = received_.substr(0, end);
      received_.erase(0, end + 1);
      return line;
    }
    const Duration left = give_up_at - clock_.now();
    pollfd readable{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (left <= Duration{0} || ::poll(&readable, 1, static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(left).count())) <= 0)
      return Error{ErrorCode::kTimeout, "QEMU gave no answer in time"};
    char buffer[4096];
    const auto got = ::read(socket_.get(), buffer, sizeof buffer);
    if (got <= 0) return Error{ErrorCode::kUnavailable, "QEMU closed its control socket"};
    received_.append(buffer, static_cast<std::size_t>(got));
  }
}

Result<std::string> Qmp::ask(const std::string& command, const std::string& arguments) {
  events_.clear();
  const std::string line =
      fmt::format("{{\"execute\": {}{}}}\n", quoted(command), arguments.empty() ? "" : ", \"arguments\": " + arguments);
  if (::send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
    return Error::from_errno("send '" + command + "' to QEMU");
  const Instant give_up_at = clock_.now() + deadline_;
  while (true) {
    auto answer = next_line(give_up_at);
    if (!answer) return std::move(answer.error()).within(command);
    if (answer->find("\"event\"") != std::string::npos && answer->find("\"timestamp\"") != std::string::npos) {
      events_ += *answer + '\n';
      continue;
    }
    if (answer->starts_with("{\"error\"")) return Error{ErrorCode::kFailed, command + ": QEMU says " + *answer};
    return answer;
  }
}

Result<void> Qmp::wait_for_event(const std::string& name) {
  const Instant give_up_at = clock_.now() + deadline_;
  while (events_.find(quoted(name)) == std::string::npos) {
    auto line = next_line(give_up_at);
    if (!line) return std::move(line.error()).within("wait for " + name);
    events_ += *line + '\n';
  }
  return {};
}

Result<void> Qmp::wait_for_status(const std::string& query, const std::string& status) {
  const Instant give_up_at = clock_.now() + deadline_;
  while (true) {
    US_ASSIGN(const std::string answer, ask(query));
    if (answer.find("\"status\": " + quoted(status)) != std::string::npos) return {};
    if (answer.find("\"status\": \"failed\"") != std::string::npos) return Error{ErrorCode::kFailed, query + ": it failed: " + answer};
    if (clock_.now() >= give_up_at) return Error{ErrorCode::kTimeout, query + ": not '" + status + "' in time: " + answer};
    std::this_thread::sleep_for(kPatience);
  }
}

}  // namespace understudy::bench
