#include "tests/lab/rough_times.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <pthread.h>
#include <random>
#include <sched.h>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "tests/lab/child.h"

namespace understudy::lab {

namespace {

constexpr Duration kToolDeadline = std::chrono::seconds{20};  // the CPUs are being stolen from the tools as well
// Of the switch: what leaves them goes to a machine, what comes in is from one.
constexpr std::array kReplicationPorts{"a-rep", "b-rep"};
constexpr std::array kLinkPorts{"a-rep", "b-rep", "a-wit", "b-wit", "w-wit"};
// No other task is before whoever steals, the kernel's own threads included, but the links' delays, which are not to grow by it.
constexpr int kStealPriority = 98;
constexpr int kDelayPriority = 99;
constexpr std::string_view kCounted = "counter packets ";

Result<void> run(const Clock& clock, const std::vector<std::string>& command) {
  auto done = run_command(clock, command, kToolDeadline);
  if (!done) return std::move(done.error());
  return {};
}

// A queue that lets through all, or so little that what comes waits until it lets through all again.
Result<void> shape(const Clock& clock, const char* verb, const char* port, bool wide) {
  std::vector<std::string> command{"tc", "qdisc", verb, "dev", port, "root", "tbf", "limit", "100mb", "rate"};
  for (const char* word : wide ? std::array{"10gbit", "burst", "1mb"} : std::array{"8kbit", "burst", "1600"}) command.emplace_back(word);
  return run(clock, command);
}

// The calling thread, and the processes that it starts.
bool go_before_others(int priority) {
  const sched_param parameters{.sched_priority = priority};
  return ::pthread_setschedparam(::pthread_self(), SCHED_FIFO, &parameters) == 0;
}

std::uint64_t count_lost(std::string_view rules) {
  std::uint64_t sum = 0;
  for (auto at = rules.find(kCounted); at != std::string_view::npos; at = rules.find(kCounted, at)) {
    at += kCounted.size();
    std::uint64_t packets = 0;
    std::from_chars(rules.data() + at, rules.data() + rules.size(), packets);
    sum += packets;
  }
  return sum;
}

}  // namespace

RoughTimes::RoughTimes(const Clock& clock, RoughTimesOptions options) : clock_{clock}, options_{options}, since_{clock.now()} {}

RoughTimes::~RoughTimes() { join(); }

Result<std::unique_ptr<RoughTimes>> RoughTimes::start(const Clock& clock, RoughTimesOptions options) {
  std::unique_ptr<RoughTimes> times{new RoughTimes{clock, options}};
  US_TRY(times->begin());
  return times;
}

Result<void> RoughTimes::begin() {
  for (const char* port : kReplicationPorts) US_TRY(shape(clock_, "add", port, true));
  if (options_.one_lost_of > 0) {
    US_TRY(run(clock_, {"nft", "add", "table", "netdev", "rough"}));
    for (const std::string port : kLinkPorts) {
      US_TRY(
          run(clock_, {"nft", fmt::format("add chain netdev rough {0} {{ type filter hook ingress device \"{0}\" priority 0; }}", port)}));
      US_TRY(
          run(clock_, {"nft", fmt::format("add rule netdev rough {} numgen random mod {} == 0 counter drop", port, options_.one_lost_of)}));
    }
  }
  if (options_.spike > Duration{0}) threads_.emplace_back([this] { delay(); });
  cpu_set_t usable;
  if (::sched_getaffinity(0, sizeof usable, &usable) < 0) return Error::from_errno("list the CPUs");
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (options_.stolen_percent > 0 && CPU_ISSET(cpu, &usable)) threads_.emplace_back([this, cpu] { steal(cpu); });
  }
  return {};
}

// Each CPU at moments of its own, since no hypervisor takes them all at once.
void RoughTimes::steal(unsigned cpu) {
  cpu_set_t own;
  CPU_ZERO(&own);
  CPU_SET(cpu, &own);
  if (::pthread_setaffinity_np(::pthread_self(), sizeof own, &own) != 0 || !go_before_others(kStealPriority)) {
    failed_ = true;
    return;
  }
  const Duration piece = options_.steal_period * options_.stolen_percent / 100;
  std::mt19937_64 random{options_.seed + cpu};
  while (!stopping_) {
    const Instant from = clock_.now();
    while (clock_.now() - from < piece) continue;
    stolen_ns_ += (clock_.now() - from).count();
    const auto free_ns = static_cast<std::uint64_t>((options_.steal_period - piece).count());
    std::this_thread::sleep_for(Duration{static_cast<std::int64_t>(free_ns / 2 + random() % free_ns)});
  }
}

void RoughTimes::delay() {
  if (!go_before_others(kDelayPriority)) failed_ = true;
  std::mt19937_64 random{options_.seed};
  const auto apart_ns = static_cast<std::uint64_t>(options_.spikes_apart.count());
  while (!stopping_) {
    const Instant next = clock_.now() + Duration{static_cast<std::int64_t>(apart_ns / 2 + random() % apart_ns)};
    while (!stopping_ && clock_.now() < next) std::this_thread::sleep_for(std::chrono::milliseconds{10});
    bool done = true;
    for (const char* port : kReplicationPorts) done = shape(clock_, "change", port, false).has_value() && done;
    std::this_thread::sleep_for(options_.spike);
    for (const char* port : kReplicationPorts) done = shape(clock_, "change", port, true).has_value() && done;
    if (!done) failed_ = true;
    ++spikes_;
  }
}

void RoughTimes::join() {
  stopping_ = true;
  for (auto& thread : threads_) thread.join();
  threads_.clear();
}

Result<RoughTimesFigures> RoughTimes::stop() {
  const std::size_t cpus = threads_.size() - (options_.spike > Duration{0} ? 1 : 0);
  RoughTimesFigures figures{.lasted = clock_.now() - since_};
  join();
  if (cpus > 0)
    figures.stolen_share = static_cast<double>(stolen_ns_) / static_cast<double>(figures.lasted.count()) / static_cast<double>(cpus);
  figures.spikes = spikes_;
  for (const char* port : kReplicationPorts) US_TRY(run(clock_, {"tc", "qdisc", "del", "dev", port, "root"}));
  if (options_.one_lost_of > 0) {
    US_ASSIGN(const auto rules, run_command(clock_, {"nft", "list", "table", "netdev", "rough"}, kToolDeadline));
    figures.frames_lost = count_lost(rules);
    US_TRY(run(clock_, {"nft", "delete", "table", "netdev", "rough"}));
  }
  if (failed_) return Error{ErrorCode::kFailed, "rough times: a CPU was not stolen, or the links were not delayed: tc or root is missing"};
  return figures;
}

}  // namespace understudy::lab
