#include "net/base/check.h"

#include <cstdio>
#include <cstdlib>
#include <unistd.h>

namespace understudy {

void check_failed(const char* condition, const char* file, int line, const char* function) {
  // No allocation and no lock: the heap may be what is broken.
  char text[512];
  const int length =
      std::snprintf(text, sizeof text, "%s:%d: %s: internal error, please report: check failed: %s\n", file, line, function, condition);
  if (length > 0) {
    const auto bytes = static_cast<std::size_t>(length) < sizeof text ? static_cast<std::size_t>(length) : sizeof text;
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, bytes);
  }
  std::abort();
}

}  // namespace understudy
