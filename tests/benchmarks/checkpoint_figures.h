// What protection costs a guest, and what it gives: the windows measured, and what becomes of them. Pure.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/benchmarks/comparison.h"

namespace understudy::bench {

enum class System : std::uint8_t {
  kNone,        // Understudy's machine, unprotected
  kUnderstudy,  // its pair
  kPlain,       // its pair, with nothing of what makes a checkpoint cheap: the Remus way
  kNoneQemu,    // COLO's machine, unprotected
  kColo,
};
const char* name_of(System system);  // "none", "understudy", "plain", "none, qemu", "colo"
// The system whose throughput is this one's whole.
System unprotected(System system);

// What a window of a few seconds showed.
struct Window {
  double writes_per_second = 0;
  std::vector<double> pauses_us{};  // by whoever stopped the vCPUs
  std::vector<double> gaps_us{};    // the longest of the guest's own, as many as there were pauses
  std::vector<double> acks_us{};
  std::optional<double> link_bytes{};
  double cpu_cores = 0;  // used by the system, the guest itself among it
};

// In microseconds; percentiles of all exchanges of a window.
struct RoundTrip {
  double p50_us = 0;
  double p99_us = 0;
};
// nullopt: none. The nearest rank.
std::optional<double> percentile(std::vector<double> samples, double percent);
std::optional<RoundTrip> round_trip(const std::vector<double>& samples_us);

struct Case {
  System system = System::kNone;
  unsigned interval_ms = 0;  // 0: unprotected
  std::uint32_t pages = 0;
  auto operator<=>(const Case&) const = default;
};

// Medians over the windows; a figure is missing where no window had it.
struct CheckpointRow {
  Case at;
  std::size_t windows = 0;
  std::optional<double> pause_p50_us, pause_p99_us, pause_max_us;
  std::optional<double> gap_p50_us, gap_p99_us;
  std::optional<double> writes_per_second, throughput_kept;  // of what the same machine does unprotected; 0 to 1, or a little more
  std::optional<double> epochs, bytes_per_epoch, ack_p50_us, cpu_cores;
  std::optional<double> egress_added_p50_us, egress_added_p99_us;  // a UDP round trip, one at a time, beside the load
  std::optional<double> kill_to_run_ms;                            // of this system at this interval
};

// An idle guest's, in microseconds.
struct IdleRow {
  System system = System::kNone;
  unsigned interval_ms = 0;
  std::optional<double> ping_p50_us, ping_p99_us, udp_p50_us, udp_p99_us;
};

class CheckpointFigures {
 public:
  void add(const Case& at, const Window& window);
  void add_echo(const Case& at, const RoundTrip& trip);
  void add_idle(System system, unsigned interval_ms, const RoundTrip& ping, const RoundTrip& udp);
  void add_kill(System system, unsigned interval_ms, double ms);
  // The first reason for each system is told.
  void missing(System system, const std::string& why);
  void discarded_window() { ++discarded_; }

  std::vector<CheckpointRow> rows() const;
  std::vector<IdleRow> idle() const;
  const std::map<System, std::string>& missing() const { return missing_; }
  std::size_t discarded() const { return discarded_; }

 private:
  using Samples = std::vector<double>;
  struct Cell {
    Samples writes, pause_p50, pause_p99, pause_max, gap_p50, gap_p99, epochs, bytes, acks, cpu, echo_p50, echo_p99;
  };
  struct Idle {
    Samples ping_p50, ping_p99, udp_p50, udp_p99;
  };
  std::optional<double> unprotected_median(const Case& at, Samples Cell::*samples) const;

  std::map<Case, Cell> cells_;
  std::map<std::pair<System, unsigned>, Idle> idle_;
  std::map<std::pair<System, unsigned>, Samples> kills_;
  std::map<System, std::string> missing_;
  std::size_t discarded_ = 0;
};

struct GuestSize {
  unsigned ram_mib = 0;
  unsigned vcpus = 0;
};
// A table, what is missing, and how many windows were thrown away.
std::string checkpoint_as_text(const CheckpointFigures& figures);
// An array of {system, pages, interval_ms, pause_p50_us, pause_p99_us, throughput_kept, bytes_per_epoch, ack_p50_us, egress_added_p50_us,
// egress_added_p99_us, kill_to_run_ms, ram_mib, vcpus}; null where there is no figure. QEMU's own unprotected guest is not among them.
std::string checkpoint_as_json(const CheckpointFigures& figures, const GuestSize& size);
// An SVG image: pause and throughput lost against the working set, a line for each system and interval.
std::string checkpoint_as_svg(const CheckpointFigures& figures);

}  // namespace understudy::bench
