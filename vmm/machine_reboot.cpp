// A guest that has ended by itself: started anew over the same memory, or over.
#include <utility>

#include "net/base/check.h"
#include "vmm/machine_parts.h"

namespace understudy {
namespace {

// For vCPUs that were told to stop when the guest ended, and for the device loop.
constexpr Duration kStandDeadline = std::chrono::seconds{2};

}  // namespace

Result<void> Machine::accept_end(std::string text) {
  if (parts_->life == Parts::Life::kRunning && parts_->check_not_ended())
    return Error{ErrorCode::kRefused, "accept the guest's end: it has not ended"};
  parts_->end = std::move(text);
  return {};
}

Result<void> Machine::reboot() {
  if (parts_->life == Parts::Life::kFresh) {  // it never ran here, or an earlier reboot() came so far
    parts_->end.reset();
    return boot();
  }
  if (parts_->life == Parts::Life::kRunning && parts_->check_not_ended()) return Error{ErrorCode::kRefused, "reboot: the guest is running"};
  US_TRY(parts_->park_all(std::chrono::steady_clock::now() + kStandDeadline));
  // Marks the pages of reads in flight: the disk may write them until the old devices let go of it.
  US_TRY(parts_->devices->quiesce(kStandDeadline));
  US_ASSIGN(auto fresh, Parts::make(parts_->config, parts_->memory, parts_->clock));
  if (parts_->tracker->started()) {
    // What the old guest wrote is in the log of a virtual machine that goes.
    PageSet written{page_count()};
    US_TRY(parts_->tracker->harvest(written));
    if (auto tracking = fresh->tracker->start(); !tracking) {
      parts_->tracker->merge_back(written);
      return tracking;
    }
    fresh->tracker->merge_back(written);
    fresh->tracker->take_hot_of(*parts_->tracker);
  }
  {
    const std::lock_guard lock{parts_mutex_};
    std::swap(parts_, fresh);
  }
  // The old devices leave guest memory and disks before the new ones may move, which is at the next resume().
  fresh.reset();
  return boot();
}

}  // namespace understudy
