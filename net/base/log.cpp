#include "net/base/log.h"

#include <atomic>

namespace understudy {

namespace {
std::atomic<LogSink> installed_sink{nullptr};
}

void set_log_sink(LogSink sink) { installed_sink.store(sink, std::memory_order_release); }

void log(Severity severity, std::string_view event, std::initializer_list<LogField> fields) {
  if (const LogSink sink = installed_sink.load(std::memory_order_acquire)) sink(severity, event, fields);
}

}  // namespace understudy
