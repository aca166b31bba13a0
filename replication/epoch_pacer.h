// When an epoch ends. Pure: no clock, no lock; one caller.
//
// Output waits for its epoch's end, so an epoch in which something waits ends as soon as its price allows, and one without output lasts as
// long as it may. The price is what ending epochs so often takes from the guest (its pauses, and the faults of its first writes afterwards)
// and from the link; a bound on either makes the epoch longer, never the other way round. So an idle guest's answer never waits for a
// timer, and a busy guest's waits for no more than `longest`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "net/base/clock.h"

namespace understudy {

struct PacingConfig {
  Duration longest = std::chrono::milliseconds{25};  // an epoch, whatever it costs; more than 0
  Duration shortest{};                               // an epoch with output, however cheap
  // Of the guest's time, that ending epochs early may take; more than 0, less than 1.
  double max_loss = 0.2;
  std::uint64_t max_link_bytes_per_second = 0;  // that ending epochs early may use; 0: all there is
  // What output may be late by at the 99th percentile; nullopt: whatever comes of it.
  std::optional<Duration> budget{};
  // Where the budget can't be held within the bounds on loss and link: true: the bounds give way; false: the budget.
  bool budget_first = false;
};

// What one epoch cost.
struct EpochPrice {
  Duration pause{};
  Duration faults{};  // of the guest's first writes to pages that were protected again
  std::size_t link_bytes = 0;
};

// How late the first frame of an epoch was, in its parts.
struct OutputDelay {
  Duration waited{};  // for the epoch's end
  Duration pause{};
  Duration ack{};
  Duration whole() const { return waited + pause + ack; }
};

class EpochPacer {
 public:
  static constexpr std::size_t kWindow = 256;  // epochs with output, for the percentiles

  // What bounds the length of epochs with output at present.
  enum class Bound : std::uint8_t { kNone, kLoss, kLink, kLongest, kBudget };

  struct Report {
    Duration shortest{};  // epochs with output last so long at least
    Bound bound = Bound::kNone;
    std::optional<Duration> late_p50, late_p99;  // of epochs with output; nullopt: there was none
    std::string broken;                          // which bound, and by how much, in a sentence; empty: the budget holds, or there is none
  };

  explicit EpochPacer(PacingConfig config);

  // The guest runs on in a new epoch.
  void began(Instant now);
  // The first output of this epoch waits.
  void output_waits(Instant now);
  // The open epoch is to end then, at the soonest.
  Instant end_at() const;
  // Since when output of the open epoch waits.
  std::optional<Instant> output_since() const { return output_since_; }

  void paid(const EpochPrice& price);
  // An epoch with output is committed.
  void released(const OutputDelay& delay);

  Report report() const;
  const PacingConfig& config() const { return config_; }

 private:
  // Follows what is measured, faster upwards than downwards: one dear epoch is no accident.
  struct Estimate {
    double value = 0;
    bool known = false;
    void add(double sample);
  };
  struct Shortest {
    Duration length{};
    Bound bound = Bound::kNone;
  };
  Shortest shortest() const;

  const PacingConfig config_;
  Instant began_{};
  std::optional<Instant> output_since_;
  Estimate guest_ns_;  // pause and faults
  Estimate pause_ns_;
  Estimate ack_ns_;
  Estimate link_bytes_;
  std::array<OutputDelay, kWindow> delays_{};
  std::size_t delays_added_ = 0;
};

const char* name_of(EpochPacer::Bound bound);

}  // namespace understudy
