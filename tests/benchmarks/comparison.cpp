#include "tests/benchmarks/comparison.h"

#include <algorithm>

#include "net/base/check.h"

namespace understudy::bench {

namespace {

constexpr std::array<MeasureInfo, kMeasureCount> kInfos{{
    {"VMM start to first guest instruction", "ms", false},
    {"boot to init", "ms", false},
    {"UDP round trip", "us", false},
    {"TCP round trip", "us", false},
    {"TCP stream to guest", "MiB/s", true},
    {"TCP stream from guest", "MiB/s", true},
    {"disk read, sequential 1 MiB", "MiB/s", true},
    {"disk write, sequential 1 MiB", "MiB/s", true},
    {"disk read, random 4 KiB", "1/s", true},
    {"disk write, random 4 KiB", "1/s", true},
    {"disk read, random 4 KiB, 16 at once", "1/s", true},
    {"disk write, random 4 KiB, 16 at once", "1/s", true},
    {"disk write and flush, 4 KiB", "1/s", true},
    {"memory beyond guest RAM", "MiB", false},
}};

constexpr std::size_t index_of(Vmm vmm) { return static_cast<std::size_t>(vmm); }
constexpr std::size_t index_of(Measure measure) { return static_cast<std::size_t>(measure); }

}  // namespace

const char* name_of(Vmm vmm) { return vmm == Vmm::kUnderstudy ? "understudy" : "qemu"; }

const MeasureInfo& info_of(Measure measure) { return kInfos[index_of(measure)]; }

std::optional<Summary> summarize(std::vector<double> samples) {
  if (samples.empty()) return std::nullopt;
  std::ranges::sort(samples);
  const std::size_t middle = samples.size() / 2;
  const double median = samples.size() % 2 == 1 ? samples[middle] : (samples[middle - 1] + samples[middle]) / 2;
  return Summary{.count = samples.size(), .median = median, .least = samples.front(), .most = samples.back()};
}

std::optional<double> Row::ratio() const {
  const auto& ours = summaries[index_of(Vmm::kUnderstudy)];
  const auto& theirs = summaries[index_of(Vmm::kQemu)];
  if (!ours || !theirs || ours->median <= 0 || theirs->median <= 0) return std::nullopt;
  return info_of(measure).more_is_better ? ours->median / theirs->median : theirs->median / ours->median;
}

void Comparison::add(Vmm vmm, Measure measure, double value) { samples_[index_of(vmm)][index_of(measure)].push_back(value); }

void Comparison::missing(Vmm vmm, std::string why) {
  auto& reason = missing_[index_of(vmm)];
  if (reason.empty()) reason = std::move(why);
}

std::vector<Row> Comparison::rows() const {
  std::vector<Row> rows;
  for (std::size_t i = 0; i < kMeasureCount; ++i) {
    Row row{.measure = static_cast<Measure>(i), .summaries = {}, .missing = {}};
    for (const Vmm vmm : kBothVmms) {
      auto& summary = row.summaries[index_of(vmm)];
      summary = summarize(samples_[index_of(vmm)][i]);
      if (!summary) row.missing[index_of(vmm)] = missing_[index_of(vmm)].empty() ? "not measured" : missing_[index_of(vmm)];
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

bool Comparison::complete(Vmm vmm) const {
  return missing_[index_of(vmm)].empty() &&
         std::ranges::none_of(samples_[index_of(vmm)], [](const auto& samples) { return samples.empty(); });
}

}  // namespace understudy::bench
