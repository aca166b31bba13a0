#include "failover/daemon/log_setup.h"

#include <atomic>
#include <mutex>

#include <fmt/format.h>
#include <spdlog/async.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "failover/daemon/rate_limit.h"
#include "net/base/clock.h"
#include "net/base/log.h"

namespace understudy {

namespace {

constexpr std::size_t kQueueLines = 8192;
constexpr std::uint32_t kBurstLines = 50;
constexpr Duration kSteadyInterval = std::chrono::milliseconds{100};

struct LogState {
  std::shared_ptr<spdlog::logger> logger;
  std::mutex mutex;
  std::string standing;                           // guarded by mutex: "pair=shop node=a"
  std::string role;                               // guarded by mutex: "role=primary term=3"
  RateLimit limit{kBurstLines, kSteadyInterval};  // guarded by mutex
  std::atomic<std::uint64_t> epoch{0};
};

LogState& state() {
  static LogState instance;
  return instance;
}

spdlog::level::level_enum level_of(Severity severity) {
  switch (severity) {
    case Severity::kDebug:
      return spdlog::level::debug;
    case Severity::kInfo:
      return spdlog::level::info;
    case Severity::kWarning:
      return spdlog::level::warn;
    case Severity::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

// A value that a reader or a script can take apart again: quoted when it has spaces or quotes, on one line.
void append_value(fmt::memory_buffer& line, std::string_view value) {
  const bool plain = !value.empty() && value.find_first_of(" \"\n\r\t=") == std::string_view::npos;
  if (plain) {
    line.append(value);
    return;
  }
  line.push_back('"');
  for (const char c : value) {
    if (c == '"' || c == '\\') line.push_back('\\');
    line.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
  }
  line.push_back('"');
}

void write_line(Severity severity, std::string_view event, std::initializer_list<LogField> fields) {
  LogState& log_state = state();
  const auto level = level_of(severity);
  if (!log_state.logger->should_log(level)) return;
  fmt::memory_buffer line;
  {
    const std::lock_guard lock{log_state.mutex};
    const auto held_back = log_state.limit.admit(event, MonotonicClock{}.now());
    if (!held_back) return;
    fmt::format_to(std::back_inserter(line), "{}{}{} epoch={}", event, log_state.standing, log_state.role, log_state.epoch.load());
    if (*held_back > 0) fmt::format_to(std::back_inserter(line), " held_back={}", *held_back);
  }
  for (const auto& field : fields) {
    line.push_back(' ');
    line.append(field.key);
    line.push_back('=');
    append_value(line, field.value);
  }
  log_state.logger->log(level, spdlog::string_view_t{line.data(), line.size()});
}

}  // namespace

Result<void> start_log(const std::optional<std::filesystem::path>& file, const std::string& level) {
  try {
    spdlog::init_thread_pool(kQueueLines, 1);
    spdlog::sink_ptr sink;
    if (file)
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file->string());
    else
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    auto logger = std::make_shared<spdlog::async_logger>("understudy", std::move(sink), spdlog::thread_pool(),
                                                         spdlog::async_overflow_policy::overrun_oldest);
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%f%z %l %v");
    logger->set_level(level == "warning" ? spdlog::level::warn : spdlog::level::from_str(level));
    logger->flush_on(spdlog::level::info);
    state().logger = std::move(logger);
  } catch (const spdlog::spdlog_ex& error) {
    return Error{ErrorCode::kFailed, std::string{"start the log: "} + error.what()};
  }
  set_log_sink(&write_line);
  return {};
}

void stop_log() {
  set_log_sink(nullptr);
  spdlog::shutdown();
}

void set_log_pair(std::string pair, NodeId node) {
  const std::lock_guard lock{state().mutex};
  state().standing = fmt::format(" pair={} node={}", pair, name_of(node));
}

void set_log_role(std::string role, Term term) {
  const std::lock_guard lock{state().mutex};
  state().role = fmt::format(" role={} term={}", role, term.raw());
}

void set_log_epoch(Epoch epoch) { state().epoch.store(epoch.raw(), std::memory_order_relaxed); }

}  // namespace understudy
