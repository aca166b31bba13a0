#include "tests/guest/report.h"

#include "tests/guest/cpu.h"

namespace understudy::guest {
namespace {

[[gnu::section(".published,\"aw\",@nobits#")]] alignas(4096) constinit Published the_published_page{};

constexpr std::uint16_t kSerial = 0x3f8;
constinit volatile int line_lock = 0;

void put(char c) {
  while ((in8(kSerial + 5) & 0x20) == 0) relax();
  out8(kSerial, static_cast<std::uint8_t>(c));
}
void put(std::string_view text) {
  for (const char c : text) put(c);
}
void put(std::uint64_t value) {
  char digits[20];
  std::size_t n = 0;
  do {
    digits[n++] = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  while (n > 0) put(digits[--n]);
}

}  // namespace

Published& published() { return the_published_page; }

void report(std::string_view text, std::initializer_list<ReportField> fields) {
  while (__atomic_exchange_n(&line_lock, 1, __ATOMIC_ACQUIRE) != 0) relax();
  put("guest: ");
  put(text);
  for (const auto& field : fields) {
    put(field.name);
    if (field.value) put(*field.value);
  }
  put('\n');
  __atomic_store_n(&line_lock, 0, __ATOMIC_RELEASE);
}

void stop(GuestState state, std::string_view text, std::initializer_list<ReportField> fields) {
  __atomic_store_n(&published().state, static_cast<std::uint32_t>(state), __ATOMIC_SEQ_CST);
  report(state == GuestState::kViolation ? "VIOLATION" : "REFUSED");
  report(text, fields);
  out8(kStopPort, static_cast<std::uint8_t>(state));
  static constinit volatile std::uint64_t never = 0;
  for (;;) guest_wait(&never, 0);
}

}  // namespace understudy::guest
