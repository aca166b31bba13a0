#include "tests/benchmarks/cpu_use.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <unistd.h>

namespace understudy::bench {

namespace {

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file{path};
  return {std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
}

}  // namespace

Result<double> all_ticks(std::string_view stat) {
  std::istringstream in{std::string{stat.substr(0, stat.find('\n'))}};
  std::string name;
  double user = 0, nice = 0, system = 0, idle = 0, waiting = 0, interrupts = 0, soft_interrupts = 0, stolen = 0;
  if (!(in >> name >> user >> nice >> system >> idle >> waiting >> interrupts >> soft_interrupts >> stolen) || name != "cpu")
    return Error{ErrorCode::kCorrupt, "/proc/stat does not begin with the sum of all cores"};
  // Interrupts belong to whoever caused them; those of the network are the systems' own.
  return user + nice + system + stolen;
}

Result<double> process_ticks(std::string_view stat) {
  // The name may hold anything, the last parenthesis ends it.
  const auto after_name = stat.rfind(')');
  if (after_name == std::string_view::npos) return Error{ErrorCode::kCorrupt, "/proc/PID/stat has no name"};
  std::istringstream in{std::string{stat.substr(after_name + 1)}};
  std::string skipped;
  for (int field = 3; field < 14; ++field) in >> skipped;
  double user = 0, system = 0, childrens_user = 0, childrens_system = 0;
  if (!(in >> user >> system >> childrens_user >> childrens_system)) return Error{ErrorCode::kCorrupt, "/proc/PID/stat has no times"};
  return user + system + childrens_user + childrens_system;
}

Result<CpuReading> read_cpu_use(const Clock& clock) {
  const auto ticks_per_second = static_cast<double>(::sysconf(_SC_CLK_TCK));
  CpuReading reading{.at = clock.now()};
  US_ASSIGN(const double all, all_ticks(content_of("/proc/stat")));
  reading.all = all / ticks_per_second;
  std::error_code failed;
  for (auto at = std::filesystem::directory_iterator{"/proc", failed}; !failed && at != std::filesystem::directory_iterator{};
       at.increment(failed)) {
    const std::string name = at->path().filename();
    if (!std::ranges::all_of(name, [](unsigned char c) { return std::isdigit(c) != 0; })) continue;
    // One that has just ended is counted with its parent.
    if (const auto ticks = process_ticks(content_of(at->path() / "stat"))) reading.own += *ticks / ticks_per_second;
  }
  return reading;
}

}  // namespace understudy::bench
