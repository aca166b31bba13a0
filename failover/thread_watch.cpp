#include "failover/thread_watch.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <sstream>

#include "failover/proc_file.h"

namespace understudy {

std::optional<ThreadReading> parse_thread(pid_t id, std::string_view stat, std::string_view schedstat) {
  // "ID (NAME) STATE ...": a name may hold anything, parentheses as well.
  const std::size_t open = stat.find('(');
  const std::size_t close = stat.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open || close + 2 >= stat.size()) return std::nullopt;
  ThreadReading reading{.id = id, .name = std::string{stat.substr(open + 1, close - open - 1)}, .state = stat[close + 2]};
  std::istringstream times{std::string{schedstat}};
  if (!(times >> reading.run_ns >> reading.wait_ns)) return std::nullopt;
  return reading;
}

std::vector<ThreadReading> read_threads(const std::vector<std::string>& prefixes) {
  std::vector<ThreadReading> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/task", error}) {
    const std::string name = read_proc_file(entry.path() / "comm");
    if (std::ranges::none_of(prefixes, [&name](const std::string& prefix) { return name.starts_with(prefix); })) continue;
    pid_t id = 0;
    const std::string number = entry.path().filename();
    std::from_chars(number.data(), number.data() + number.size(), id);
    // One that ended meanwhile reads as nothing.
    if (auto reading = parse_thread(id, read_proc_file(entry.path() / "stat"), read_proc_file(entry.path() / "schedstat")))
      found.push_back(std::move(*reading));
  }
  return found;
}

ProbeReport ThreadWatch::look(const std::vector<ThreadReading>& threads, const std::string& idle, Instant now) {
  ProbeReport report{.path = path_, .health = Health::kHealthy, .started_at = now, .completed_at = now, .text = {}};
  std::map<pid_t, Seen> seen;
  for (const ThreadReading& thread : threads) {
    const auto before = seen_.find(thread.id);
    const bool same = before != seen_.end() && before->second.run_ns == thread.run_ns && before->second.state == thread.state;
    const Seen& one = seen[thread.id] = {thread.run_ns, thread.state, same ? before->second.since : now};
    const Duration still = now - one.since;
    const auto tell = [&](const char* what) { report.text = thread.name + " " + what + " for " + ms_text(still); };
    if (thread.state == 'D' && still >= limits_.stuck_after && !report.suspected) {
      report.health = Health::kDegraded;
      report.suspected = true;
      tell("is stuck in the kernel");
    } else if (thread.state == 'R' && still >= limits_.starved_after && report.health == Health::kHealthy) {
      report.health = Health::kDegraded;
      tell("gets no CPU");
    }
  }
  seen_ = std::move(seen);
  if (report.health == Health::kHealthy) report.text = threads.empty() ? idle : "get on";
  return report;
}

}  // namespace understudy
