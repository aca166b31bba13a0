#include "tests/benchmarks/checkpoint_figures.h"

#include <algorithm>
#include <cmath>

namespace understudy::bench {

namespace {

std::optional<double> median(const std::vector<double>& samples) {
  const auto summary = summarize(samples);
  return summary ? std::optional{summary->median} : std::nullopt;
}

void add_if(std::vector<double>& samples, std::optional<double> value) {
  if (value) samples.push_back(*value);
}

}  // namespace

const char* name_of(System system) {
  switch (system) {
    case System::kNone:
      return "none";
    case System::kUnderstudy:
      return "understudy";
    case System::kPlain:
      return "plain";
    case System::kNoneQemu:
      return "none, qemu";
    case System::kColo:
      return "colo";
  }
  return "?";
}

System unprotected(System system) { return system == System::kColo || system == System::kNoneQemu ? System::kNoneQemu : System::kNone; }

std::optional<double> percentile(std::vector<double> samples, double percent) {
  if (samples.empty()) return std::nullopt;
  const auto rank = static_cast<std::size_t>(std::ceil(percent / 100 * static_cast<double>(samples.size())));
  const auto at = samples.begin() + static_cast<std::ptrdiff_t>(std::clamp<std::size_t>(rank, 1, samples.size()) - 1);
  std::ranges::nth_element(samples, at);
  return *at;
}

std::optional<RoundTrip> round_trip(const std::vector<double>& samples_us) {
  const auto p50 = percentile(samples_us, 50);
  const auto p99 = percentile(samples_us, 99);
  if (!p50 || !p99) return std::nullopt;
  return RoundTrip{.p50_us = *p50, .p99_us = *p99};
}

void CheckpointFigures::add(const Case& at, const Window& window) {
  Cell& cell = cells_[at];
  cell.writes.push_back(window.writes_per_second);
  cell.cpu.push_back(window.cpu_cores);
  add_if(cell.pause_p50, percentile(window.pauses_us, 50));
  add_if(cell.pause_p99, percentile(window.pauses_us, 99));
  add_if(cell.pause_max, percentile(window.pauses_us, 100));
  add_if(cell.gap_p50, percentile(window.gaps_us, 50));
  add_if(cell.gap_p99, percentile(window.gaps_us, 99));
  add_if(cell.acks, percentile(window.acks_us, 50));
  if (window.pauses_us.empty()) return;
  const auto epochs = static_cast<double>(window.pauses_us.size());
  cell.epochs.push_back(epochs);
  if (window.link_bytes) cell.bytes.push_back(*window.link_bytes / epochs);
}

void CheckpointFigures::add_echo(const Case& at, const RoundTrip& trip) {
  cells_[at].echo_p50.push_back(trip.p50_us);
  cells_[at].echo_p99.push_back(trip.p99_us);
}

void CheckpointFigures::add_idle(System system, unsigned interval_ms, const RoundTrip& ping, const RoundTrip& udp) {
  Idle& idle = idle_[{system, interval_ms}];
  idle.ping_p50.push_back(ping.p50_us);
  idle.ping_p99.push_back(ping.p99_us);
  idle.udp_p50.push_back(udp.p50_us);
  idle.udp_p99.push_back(udp.p99_us);
}

void CheckpointFigures::add_kill(System system, unsigned interval_ms, double ms) { kills_[{system, interval_ms}].push_back(ms); }

void CheckpointFigures::missing(System system, const std::string& why) { missing_.emplace(system, why); }

std::optional<double> CheckpointFigures::unprotected_median(const Case& at, Samples Cell::*samples) const {
  const auto found = cells_.find(Case{.system = unprotected(at.system), .interval_ms = 0, .pages = at.pages});
  return found == cells_.end() ? std::nullopt : median(found->second.*samples);
}

std::vector<CheckpointRow> CheckpointFigures::rows() const {
  std::vector<CheckpointRow> rows;
  for (const auto& [at, cell] : cells_) {
    CheckpointRow row{.at = at,
                      .windows = cell.writes.size(),
                      .pause_p50_us = median(cell.pause_p50),
                      .pause_p99_us = median(cell.pause_p99),
                      .pause_max_us = median(cell.pause_max),
                      .gap_p50_us = median(cell.gap_p50),
                      .gap_p99_us = median(cell.gap_p99),
                      .writes_per_second = median(cell.writes),
                      .throughput_kept = {},
                      .epochs = median(cell.epochs),
                      .bytes_per_epoch = median(cell.bytes),
                      .ack_p50_us = median(cell.acks),
                      .cpu_cores = median(cell.cpu),
                      .egress_added_p50_us = {},
                      .egress_added_p99_us = {},
                      .kill_to_run_ms = {}};
    const auto against = [&](Samples Cell::*samples, auto combine) -> std::optional<double> {
      const auto own = median(cell.*samples);
      const auto whole = unprotected_median(at, samples);
      return own && whole ? std::optional{combine(*own, *whole)} : std::nullopt;
    };
    row.throughput_kept = against(&Cell::writes, [](double own, double whole) { return whole > 0 ? own / whole : 0; });
    row.egress_added_p50_us = against(&Cell::echo_p50, [](double own, double whole) { return own - whole; });
    row.egress_added_p99_us = against(&Cell::echo_p99, [](double own, double whole) { return own - whole; });
    if (const auto kills = kills_.find({at.system, at.interval_ms}); kills != kills_.end()) row.kill_to_run_ms = median(kills->second);
    rows.push_back(row);
  }
  return rows;
}

std::vector<IdleRow> CheckpointFigures::idle() const {
  std::vector<IdleRow> rows;
  for (const auto& [at, idle] : idle_)
    rows.push_back({.system = at.first,
                    .interval_ms = at.second,
                    .ping_p50_us = median(idle.ping_p50),
                    .ping_p99_us = median(idle.ping_p99),
                    .udp_p50_us = median(idle.udp_p50),
                    .udp_p99_us = median(idle.udp_p99)});
  return rows;
}

}  // namespace understudy::bench
