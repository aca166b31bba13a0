#include "failover/probe_wire.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <signal.h>
#include <stop_token>
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
  std::int64_t latency_ns;
  std::uint64_t flags;
};
static_assert(sizeof(Header) == 40);
constexpr std::uint64_t kSuspected = 1;
constexpr std::uint64_t kBeyond = 2;
constexpr std::size_t kMaxTextBytes = kProbeRecordBytes - sizeof(Header);

// How long this host let a thread that was due wait for a CPU: another thread of this process sleeps in short steps and sees how late it
// wakes. What a stolen or throttled CPU costs is thus not taken for a slow disk.
class StallMeter {
 public:
  explicit StallMeter(const Clock& clock)
      : clock_{clock}, due_ns_{to_ns(clock.now() + kStep)}, thread_{[this](const std::stop_token& stop) { run(stop); }} {}

  // Altogether; grows.
  Duration stalled() const {
    const Duration late = clock_.now() - Instant{Duration{due_ns_.load()}};
    return Duration{stalled_ns_.load()} + (late > kUsual ? late : Duration{});
  }

 private:
  static constexpr Duration kStep = std::chrono::milliseconds{10};
  static constexpr Duration kUsual = std::chrono::milliseconds{2};

  void run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const Instant due = clock_.now() + kStep;
      due_ns_ = to_ns(due);
      std::this_thread::sleep_for(kStep);
      const Duration late = clock_.now() - due;
      if (late > kUsual) stalled_ns_ += late.count();
    }
  }

  const Clock& clock_;
  std::atomic<std::int64_t> due_ns_;
  std::atomic<std::int64_t> stalled_ns_{0};
  std::jthread thread_;
};

}  // namespace

ProbeRecord encode_probe(const ProbeReport& report) {
  ProbeRecord record{};
  const std::size_t text_bytes = std::min(report.text.size(), kMaxTextBytes);
  const Header header{.magic = kMagic,
                      .path = static_cast<std::uint8_t>(report.path),
                      .health = static_cast<std::uint8_t>(report.health),
                      .text_bytes = static_cast<std::uint16_t>(text_bytes),
                      .started_ns = to_ns(report.started_at),
                      .completed_ns = to_ns(report.completed_at),
                      .latency_ns = report.latency.count(),
                      .flags = (report.suspected ? kSuspected : 0) | (report.beyond ? kBeyond : 0)};
  std::memcpy(record.data(), &header, sizeof header);
  std::memcpy(record.data() + sizeof header, report.text.data(), text_bytes);
  return record;
}

Result<ProbeReport> decode_probe(std::span<const std::byte, kProbeRecordBytes> record) {
  Header header;
  std::memcpy(&header, record.data(), sizeof header);
  const bool suspected = (header.flags & kSuspected) != 0;
  if (header.magic != kMagic || header.path >= kProbePathCount || header.health == static_cast<std::uint8_t>(Health::kUnknown) ||
      header.health > static_cast<std::uint8_t>(Health::kFailed) || header.text_bytes > kMaxTextBytes ||
      header.started_ns > header.completed_ns || header.latency_ns < 0 || header.flags > (kSuspected | kBeyond) ||
      (suspected && header.health != static_cast<std::uint8_t>(Health::kDegraded)))
    return Error{ErrorCode::kCorrupt, "a probe's report: not one of its records"};
  ProbeReport report;
  report.path = static_cast<ProbePath>(header.path);
  report.health = static_cast<Health>(header.health);
  report.started_at = Instant{Duration{header.started_ns}};
  report.completed_at = Instant{Duration{header.completed_ns}};
  report.text.assign(reinterpret_cast<const char*>(record.data()) + sizeof header, header.text_bytes);
  report.suspected = suspected;
  report.beyond = (header.flags & kBeyond) != 0;
  report.latency = Duration{header.latency_ns};
  return report;
}

int run_probe(Duration period, int out_fd, const std::function<std::vector<ProbeReport>()>& exercise) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGPIPE, SIG_IGN);
  // A terminal's Ctrl-C and a service manager's stop reach the whole group; the daemon ends its probes itself.
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGTERM, SIG_IGN);
  const MonotonicClock clock;
  StallMeter stalls{clock};
  while (true) {
    const Instant started_at = clock.now();
    const Duration stalled_before = stalls.stalled();
    std::vector<ProbeReport> reports = exercise();
    const Duration stalled = stalls.stalled() - stalled_before;
    for (ProbeReport& report : reports) {
      report.started_at = started_at;
      report.completed_at = clock.now();
      if (report.latency > Duration{}) report.latency = std::max<Duration>(report.latency - stalled, Duration{1});
      const ProbeRecord record = encode_probe(report);
      if (::write(out_fd, record.data(), record.size()) != static_cast<ssize_t>(record.size())) return 0;  // nobody reads any more
    }
    std::this_thread::sleep_for(std::max<Duration>(period - (clock.now() - started_at), period / 4));
  }
}

int run_probe(ProbePath path, Duration period, int out_fd, const std::function<ProbeReport()>& exercise) {
  return run_probe(period, out_fd, [path, &exercise] {
    ProbeReport report = exercise();
    report.path = path;
    return std::vector<ProbeReport>{std::move(report)};
  });
}

}  // namespace understudy
