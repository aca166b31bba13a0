// What comes from a probe's process, from the kernel's log and from /proc: refused or read, and never harmful.
#include <array>
#include <cstring>
#include <string_view>

#include "failover/host_watch.h"
#include "failover/kernel_log.h"
#include "failover/probe_echo.h"
#include "failover/probe_wire.h"
#include "failover/thread_watch.h"
#include "net/base/check.h"

namespace understudy {
namespace {

void read_record(std::string_view text) {
  ProbeRecord record{};
  if (!text.empty()) std::memcpy(record.data(), text.data(), std::min(text.size(), record.size()));
  const auto report = decode_probe(record);
  if (!report) return;
  const auto again = decode_probe(encode_probe(*report));
  US_CHECK(again && again->health == report->health && again->suspected == report->suspected && again->text == report->text);
}

void read_kernel_log(std::string_view text) {
  static const auto rules = default_kernel_log_rules();
  static auto watch = KernelLogWatch::create(rules, "svc0", "rep0");
  const Instant now{};
  if (const auto message = kernel_message(text)) watch->line(now, *message);
  for (const ProbeReport& report : watch->reports(now)) {
    US_CHECK(report.text.size() < 300);
    for (const char c : report.text) US_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  }
}

}  // namespace
}  // namespace understudy

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace understudy;
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  read_record(text);
  read_kernel_log(text);
  if (const auto percent = full_pressure(text)) US_CHECK(*percent >= 0 && *percent <= 100);
  static_cast<void>(parse_thread(1, text, text));
  static_cast<void>(gateway_in(text, {"eth0"}));
  return 0;
}
