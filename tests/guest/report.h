// What the guest says: lines on the serial port, and the published page. From any vCPU in ring 3.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "tests/guest/published.h"

namespace understudy::guest {

Published& published();

struct ReportField {
  std::string_view name;               // with its separator: " n="
  std::optional<std::uint64_t> value;  // nothing: the name alone
};

// "guest: <text><fields>". Each character is an exit: say little, seldom.
void report(std::string_view text, std::initializer_list<ReportField> fields = {});

// Says why and stops the guest for good.
[[noreturn]] void stop(GuestState state, std::string_view text, std::initializer_list<ReportField> fields);
[[noreturn]] inline void refuse(std::string_view text, std::uint64_t value) { stop(GuestState::kRefused, text, {{"", value}}); }
[[noreturn]] inline void violation(std::string_view text, std::initializer_list<ReportField> fields) {
  stop(GuestState::kViolation, text, fields);
}

}  // namespace understudy::guest
