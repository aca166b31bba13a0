// The figures of checkpoints in words, as JSON and as a picture.
#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include <fmt/format.h>

#include "tests/benchmarks/checkpoint_figures.h"

namespace understudy::bench {

namespace {

// `scale`: what the figure is multiplied with.
std::string cell(std::optional<double> value, double scale = 1, int digits = 1) {
  return value ? fmt::format("{:.{}f}", *value * scale, digits) : "-";
}

std::string percent_lost(std::optional<double> kept) { return kept ? fmt::format("{:.1f}", (1 - *kept) * 100) : "-"; }

std::string interval_of(unsigned ms) { return ms == 0 ? "-" : std::to_string(ms); }

std::string json(std::optional<double> value) { return value ? fmt::format("{}", *value) : "null"; }

}  // namespace

std::string checkpoint_as_text(const CheckpointFigures& figures) {
  std::string text = fmt::format("{:<11} {:>5} {:>6} {:>7} {:>7} {:>7} {:>7} {:>8} {:>6} {:>6} {:>9} {:>7} {:>8} {:>8} {:>5} {:>7} {:>3}\n",
                                 "system", "every", "pages", "pause", "p99", "max", "gap", "writes", "lost", "epochs", "bytes", "ack",
                                 "egress", "p99", "cpu", "kill", "win");
  text += fmt::format("{:<11} {:>5} {:>6} {:>7} {:>7} {:>7} {:>7} {:>8} {:>6} {:>6} {:>9} {:>7} {:>8} {:>8} {:>5} {:>7} {:>3}\n", "", "ms",
                      "", "ms", "ms", "ms", "ms", "M/s", "%", "", "an epoch", "ms", "ms more", "ms more", "cores", "ms", "");
  constexpr double kMs = 1e-3;
  for (const CheckpointRow& row : figures.rows()) {
    text += fmt::format("{:<11} {:>5} {:>6} {:>7} {:>7} {:>7} {:>7} {:>8} {:>6} {:>6} {:>9} {:>7} {:>8} {:>8} {:>5} {:>7} {:>3}\n",
                        name_of(row.at.system), interval_of(row.at.interval_ms), row.at.pages, cell(row.pause_p50_us, kMs, 2),
                        cell(row.pause_p99_us, kMs, 2), cell(row.pause_max_us, kMs, 2), cell(row.gap_p50_us, kMs, 2),
                        cell(row.writes_per_second, 1e-6, 2), percent_lost(row.throughput_kept), cell(row.epochs, 1, 0),
                        cell(row.bytes_per_epoch, 1, 0), cell(row.ack_p50_us, kMs, 2), cell(row.egress_added_p50_us, kMs, 2),
                        cell(row.egress_added_p99_us, kMs, 2), cell(row.cpu_cores, 1, 2), cell(row.kill_to_run_ms, 1, 1), row.windows);
  }
  text += fmt::format("\nan idle guest, round trips in ms: {:>14} {:>8} {:>8} {:>8}\n", "ping", "p99", "udp", "p99");
  for (const IdleRow& row : figures.idle())
    text += fmt::format("{:<11} every {:>5} ms {:>24} {:>8} {:>8} {:>8}\n", name_of(row.system), interval_of(row.interval_ms),
                        cell(row.ping_p50_us, kMs, 2), cell(row.ping_p99_us, kMs, 2), cell(row.udp_p50_us, kMs, 2),
                        cell(row.udp_p99_us, kMs, 2));
  text +=
      "\npause: by whoever stops the vCPUs, medians over windows of the window's p50, p99 and most. gap: the same as the guest feels it, "
      "with what its\n"
      "kernel does then. lost: of what the same machine does unprotected. egress: a UDP round trip beside the load, more than unprotected. "
      "kill: from\n"
      "the loss being known to the guest's first instruction; COLO's guest had been running along, in a state of its own.\n";
  text += fmt::format("windows thrown away because something else used the machine: {}\n", figures.discarded());
  for (const auto& [system, why] : figures.missing()) text += fmt::format("missing of {}: {}\n", name_of(system), why);
  return text;
}

std::string checkpoint_as_json(const CheckpointFigures& figures, const GuestSize& size) {
  std::string text = "[";
  for (const CheckpointRow& row : figures.rows()) {
    if (row.at.system == System::kNoneQemu) continue;
    text += text.size() > 1 ? ",\n " : "\n ";
    text += fmt::format(
        "{{\"system\": \"{}\", \"pages\": {}, \"interval_ms\": {}, \"pause_p50_us\": {}, \"pause_p99_us\": {}, \"throughput_kept\": {}, "
        "\"bytes_per_epoch\": {}, \"ack_p50_us\": {}, \"egress_added_p50_us\": {}, \"egress_added_p99_us\": {}, \"kill_to_run_ms\": {}, "
        "\"ram_mib\": {}, \"vcpus\": {}}}",
        name_of(row.at.system), row.at.pages, row.at.interval_ms, json(row.pause_p50_us), json(row.pause_p99_us), json(row.throughput_kept),
        json(row.bytes_per_epoch), json(row.ack_p50_us), json(row.egress_added_p50_us), json(row.egress_added_p99_us),
        json(row.kill_to_run_ms), size.ram_mib, size.vcpus);
  }
  return text + "\n]\n";
}

namespace {

struct Line {
  std::string name;
  const char* colour;
  std::vector<std::pair<double, double>> points;
};

constexpr double kPanelWidth = 420, kPanelHeight = 300, kLeft = 60, kTop = 40, kGap = 90;

// The set of pages is drawn by its logarithm, with 0 where 64 would be.
double across(double pages) { return (std::log2(std::max(pages, 64.0)) - 6) / 8 * kPanelWidth; }

std::string panel(double at, const std::string& title, const std::vector<Line>& lines, double most, bool logarithmic) {
  const double least = logarithmic ? 0.1 : 0;
  const auto up = [&](double value) {
    const double part = logarithmic ? std::log10(std::max(value, least) / least) / std::log10(most / least) : value / most;
    return kTop + kPanelHeight * (1 - std::clamp(part, 0.0, 1.0));
  };
  std::string svg = fmt::format("<text x='{}' y='24' font-weight='bold'>{}</text>\n", at, title);
  svg += fmt::format("<rect x='{}' y='{}' width='{}' height='{}' fill='none' stroke='#888'/>\n", at, kTop, kPanelWidth, kPanelHeight);
  for (const double pages : {0.0, 256.0, 1024.0, 4096.0, 16384.0})
    svg += fmt::format("<text x='{:.1f}' y='{}' text-anchor='middle'>{:.0f}</text>\n", at + across(pages), kTop + kPanelHeight + 18, pages);
  const auto marks = logarithmic ? std::vector{0.1, 1.0, 10.0, 100.0} : std::vector{0.0, 25.0, 50.0, 75.0, 100.0};
  for (const double mark : marks)
    svg +=
        fmt::format("<text x='{}' y='{:.1f}' text-anchor='end'>{}</text>\n<line x1='{}' x2='{}' y1='{:.1f}' y2='{:.1f}' stroke='#ddd'/>\n",
                    at - 6, up(mark) + 4, mark, at, at + kPanelWidth, up(mark), up(mark));
  double row = kTop + 16;
  for (const Line& line : lines) {
    if (line.points.empty()) continue;
    std::string points;
    for (const auto& [pages, value] : line.points) {
      points += fmt::format("{:.1f},{:.1f} ", at + across(pages), up(value));
      svg += fmt::format("<circle cx='{:.1f}' cy='{:.1f}' r='3' fill='{}'/>\n", at + across(pages), up(value), line.colour);
    }
    svg += fmt::format("<polyline points='{}' fill='none' stroke='{}' stroke-width='2'/>\n", points, line.colour);
    svg += fmt::format("<text x='{}' y='{}' fill='{}'>{}</text>\n", at + 8, row, line.colour, line.name);
    row += 16;
  }
  return svg;
}

}  // namespace

std::string checkpoint_as_svg(const CheckpointFigures& figures) {
  constexpr std::array kColours{"#1b6ca8", "#d1495b", "#2e933c", "#8e5ea2", "#e08e0b", "#444444", "#00a6a6", "#a05a2c", "#b5179e"};
  std::vector<Line> pauses;
  std::vector<Line> lost;
  for (const CheckpointRow& row : figures.rows()) {
    if (row.at.interval_ms == 0) continue;
    const std::string name = fmt::format("{}, every {} ms", name_of(row.at.system), row.at.interval_ms);
    if (pauses.empty() || pauses.back().name != name) {
      const char* const colour = kColours[pauses.size() % kColours.size()];
      pauses.push_back({.name = name, .colour = colour, .points = {}});
      lost.push_back({.name = name, .colour = colour, .points = {}});
    }
    if (row.pause_p50_us) pauses.back().points.emplace_back(row.at.pages, *row.pause_p50_us / 1e3);
    if (row.throughput_kept) lost.back().points.emplace_back(row.at.pages, (1 - *row.throughput_kept) * 100);
  }
  const double width = kLeft + 2 * kPanelWidth + kGap + 20;
  std::string svg = fmt::format("<svg xmlns='http://www.w3.org/2000/svg' width='{}' height='{}' font-family='sans-serif' font-size='12'>\n",
                                width, kTop + kPanelHeight + 50);
  svg += "<rect width='100%' height='100%' fill='white'/>\n";
  svg += panel(kLeft, "median pause in ms, by pages of the working set", pauses, 100, true);
  svg += panel(kLeft + kPanelWidth + kGap, "throughput lost in percent, by pages of the working set", lost, 100, false);
  return svg + "</svg>\n";
}

}  // namespace understudy::bench
