// The comparison in words and as JSON.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "tests/benchmarks/comparison.h"

namespace understudy::bench {

namespace {

// Three digits that count; all of a large number.
std::string number(double value) {
  const double size = std::abs(value);
  return size >= 100 ? fmt::format("{:.0f}", value) : size >= 10 ? fmt::format("{:.1f}", value) : fmt::format("{:.2f}", value);
}

std::string cell(const std::optional<Summary>& summary) {
  if (!summary) return "missing";
  return fmt::format("{} ({} to {})", number(summary->median), number(summary->least), number(summary->most));
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      out += fmt::format("\\{}", c);
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  return out + '"';
}

std::string json_number(std::optional<double> value) { return value ? fmt::format("{}", *value) : "null"; }

std::string json_samples(const Row& row, Vmm vmm) {
  const auto& summary = row.summaries[static_cast<std::size_t>(vmm)];
  if (!summary) return fmt::format("\"{}_missing\": {}", name_of(vmm), quoted(row.missing[static_cast<std::size_t>(vmm)]));
  return fmt::format("\"{0}_least\": {1}, \"{0}_most\": {2}, \"{0}_count\": {3}", name_of(vmm), json_number(summary->least),
                     json_number(summary->most), summary->count);
}

}  // namespace

std::string as_text(const std::vector<Row>& rows) {
  std::string text = fmt::format("{:<37} {:<6} {:<26} {:<26} {}\n", "measure: median (range)", "unit", "understudy", "qemu", "ratio");
  for (const auto& row : rows) {
    const auto& info = info_of(row.measure);
    const auto ratio = row.ratio();
    text += fmt::format("{:<37} {:<6} {:<26} {:<26} {}\n", info.name, info.unit, cell(row.summaries[0]), cell(row.summaries[1]),
                        ratio ? fmt::format("{:.2f}", *ratio) : "-");
  }
  text += "ratio: how many times better than QEMU\n";
  for (const Vmm vmm : kBothVmms) {
    const auto lacking = std::ranges::find_if(rows, [&](const Row& row) { return !row.missing[static_cast<std::size_t>(vmm)].empty(); });
    if (lacking != rows.end()) text += fmt::format("missing of {}: {}\n", name_of(vmm), lacking->missing[static_cast<std::size_t>(vmm)]);
  }
  return text;
}

std::string as_json(const std::vector<Row>& rows) {
  std::string text = "[";
  for (const auto& row : rows) {
    const auto& info = info_of(row.measure);
    const auto median = [&](Vmm vmm) {
      const auto& summary = row.summaries[static_cast<std::size_t>(vmm)];
      return json_number(summary ? std::optional{summary->median} : std::nullopt);
    };
    text += text.size() > 1 ? ",\n " : "\n ";
    text += fmt::format("{{\"measure\": {}, \"unit\": {}, \"understudy\": {}, \"qemu\": {}, \"ratio\": {}, {}, {}}}", quoted(info.name),
                        quoted(info.unit), median(Vmm::kUnderstudy), median(Vmm::kQemu), json_number(row.ratio()),
                        json_samples(row, Vmm::kUnderstudy), json_samples(row, Vmm::kQemu));
  }
  return text + "\n]\n";
}

}  // namespace understudy::bench
