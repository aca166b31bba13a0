// The log as every layer sees it: an event name, a severity, and fields. Programs install the sink (spdlog); without one, lines are
// dropped. One line an event, fields as key=value. Callable from any thread; the installed sink must not block (it is asynchronous).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "net/base/ids.h"

namespace understudy {

enum class Severity : std::uint8_t { kDebug, kInfo, kWarning, kError };

struct LogField {
  std::string_view key;
  std::string value;

  LogField(std::string_view k, std::string_view v) : key{k}, value{v} {}
  LogField(std::string_view k, const char* v) : key{k}, value{v} {}
  LogField(std::string_view k, const std::string& v) : key{k}, value{v} {}
  LogField(std::string_view k, double v) : key{k}, value{std::to_string(v)} {}
  template <class Integer>
  requires std::is_integral_v<Integer> LogField(std::string_view k, Integer v) : key{k}, value{std::to_string(v)} {}
  template <class Tag>
  LogField(std::string_view k, StrongU64<Tag> v) : key{k}, value{std::to_string(v.raw())} {}
};

using LogSink = void (*)(Severity severity, std::string_view event, std::initializer_list<LogField> fields);

// Installs the process's sink; call once, before threads start. nullptr drops lines again.
void set_log_sink(LogSink sink);

// log(Severity::kInfo, "epoch committed", {{"epoch", epoch}, {"pages", pages}})
void log(Severity severity, std::string_view event, std::initializer_list<LogField> fields = {});

}  // namespace understudy
