// What is measured, the samples of both VMMs, and what becomes of them: medians, ranges, ratios. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace understudy::bench {

inline constexpr double kMib = 1024.0 * 1024.0;  // bytes

enum class Vmm : std::uint8_t { kUnderstudy, kQemu };
inline constexpr std::array kBothVmms{Vmm::kUnderstudy, Vmm::kQemu};
const char* name_of(Vmm vmm);  // "understudy", "qemu"

enum class Measure : std::uint8_t {
  kFirstInstruction,
  kBootToInit,
  kUdpRoundTrip,
  kTcpRoundTrip,
  kTcpToGuest,
  kTcpFromGuest,
  kDiskRead,
  kDiskWrite,
  kDiskRandomRead,
  kDiskRandomWrite,
  kDiskRandomReadDeep,
  kDiskRandomWriteDeep,
  kDiskFlush,
  kMemory,
};
inline constexpr std::size_t kMeasureCount = static_cast<std::size_t>(Measure::kMemory) + 1;

struct MeasureInfo {
  const char* name;
  const char* unit;
  bool more_is_better;
};
const MeasureInfo& info_of(Measure measure);

struct Summary {
  std::size_t count = 0;
  double median = 0, least = 0, most = 0;
};
// nullopt: no sample. The median of an even count is the mean of the middle two.
std::optional<Summary> summarize(std::vector<double> samples);

struct Row {
  Measure measure;
  std::array<std::optional<Summary>, 2> summaries;  // by Vmm
  std::array<std::string, 2> missing;               // why there is no summary
  // How many times better than QEMU; nullopt without two values above zero.
  std::optional<double> ratio() const;
};

class Comparison {
 public:
  void add(Vmm vmm, Measure measure, double value);
  // The first reason given stands in every row of this VMM that has no sample.
  void missing(Vmm vmm, std::string why);
  // Every measure, in order.
  std::vector<Row> rows() const;
  // Every measure has a sample of this VMM, and nothing was reported as missing.
  bool complete(Vmm vmm) const;

 private:
  std::array<std::array<std::vector<double>, kMeasureCount>, 2> samples_;
  std::array<std::string, 2> missing_;
};

// An aligned table, and a line for each VMM that lacks something; ended by a newline.
std::string as_text(const std::vector<Row>& rows);
// A list of {measure, unit, understudy, qemu, ratio}: medians, null where there is none; and for each VMM its least and most sample and
// their count, or why there is none.
std::string as_json(const std::vector<Row>& rows);

}  // namespace understudy::bench
