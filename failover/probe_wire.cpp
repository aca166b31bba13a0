#include "failover/probe_wire.h"

#include <algorithm>
#include <cstring>
#include <signal.h>
#include <thread>
#include <unistd.h>

#include <sys/prctl.h>

namespace understudy {

namespace {

constexpr std::uint32_t kMagic = 0x42525055;  // "UPRB"

struct Header {
  std::uint32_t magic;
  std::uint8_t path;
  std::uint8_t health;
  std::uint16_t text_bytes;
  std::int64_t started_ns;
  std::int64_t completed_ns;
};
static_assert(sizeof(Header) == 24);
constexpr std::size_t kMaxTextBytes = kProbeRecordBytes - sizeof(Header);

}  // namespace

ProbeRecord encode_probe(const ProbeReport& report) {
  ProbeRecord record{};
  const std::size_t text_bytes = std::min(report.text.size(), kMaxTextBytes);
  const Header header{.magic = kMagic,
                      .path = static_cast<std::uint8_t>(report.path),
                      .health = static_cast<std::uint8_t>(report.health),
                      .text_bytes = static_cast<std::uint16_t>(text_bytes),
                      .started_ns = to_ns(report.started_at),
                      .completed_ns = to_ns(report.completed_at)};
  std::memcpy(record.data(), &header, sizeof header);
  std::memcpy(record.data() + sizeof header, report.text.data(), text_bytes);
  return record;
}

Result<ProbeReport> decode_probe(std::span<const std::byte, kProbeRecordBytes> record, ProbePath expected) {
  Header header;
  std::memcpy(&header, record.data(), sizeof header);
  if (header.magic != kMagic || header.path != static_cast<std::uint8_t>(expected) ||
      header.health > static_cast<std::uint8_t>(Health::kFailed) || header.text_bytes > kMaxTextBytes ||
      header.started_ns > header.completed_ns)
    return Error{ErrorCode::kCorrupt, std::string{"report of the probe of the "} + name_of(expected) + ": not one of its records"};
  ProbeReport report;
  report.path = expected;
  report.health = static_cast<Health>(header.health);
  report.started_at = Instant{Duration{header.started_ns}};
  report.completed_at = Instant{Duration{header.completed_ns}};
  report.text.assign(reinterpret_cast<const char*>(record.data()) + sizeof header, header.text_bytes);
  return report;
}

int run_probe(ProbePath path, Duration period, int out_fd, const std::function<ProbeReport()>& exercise) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGPIPE, SIG_IGN);
  // A terminal's Ctrl-C and a service manager's stop reach the whole group; the daemon ends its probes itself.
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGTERM, SIG_IGN);
  const MonotonicClock clock;
  while (true) {
    const Instant started_at = clock.now();
    ProbeReport report = exercise();
    report.path = path;
    report.started_at = started_at;
    report.completed_at = clock.now();
    const ProbeRecord record = encode_probe(report);
    if (::write(out_fd, record.data(), record.size()) != static_cast<ssize_t>(record.size())) return 0;  // nobody reads any more
    std::this_thread::sleep_for(std::max<Duration>(period - (clock.now() - started_at), period / 4));
  }
}

}  // namespace understudy
