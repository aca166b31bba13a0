// An edge-triggered interrupt line: an eventfd that the machine registers as an irqfd (KVM API 4.75, KVM_IRQFD).
#pragma once

#include <cstdint>
#include <memory>
#include <unistd.h>

#include <sys/eventfd.h>

#include "net/base/result.h"
#include "net/base/unique_fd.h"

namespace understudy {

class InterruptLine {
 public:
  static Result<InterruptLine> create() {
    UniqueFd fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!fd) return Error::from_errno("create an interrupt line: eventfd");
    return InterruptLine{std::move(fd)};
  }

  // One edge. Any thread; does not block. Edges that nobody took merge.
  void raise() const {
    const std::uint64_t one = 1;
    // Fails only when the counter is full, which still reads as raised.
    [[maybe_unused]] const auto written = ::write(fd_.get(), &one, sizeof one);
  }
  int fd() const { return fd_.get(); }

 private:
  explicit InterruptLine(UniqueFd fd) : fd_{std::move(fd)} {}
  UniqueFd fd_;
};

}  // namespace understudy
