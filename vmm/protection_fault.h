// What a guest pays for its first write to a page that the dirty log protects: 1 to 2 microseconds with hardware virtualization, twenty
// times that without. So it is measured, not assumed.
#pragma once

#include "net/base/clock.h"
#include "net/base/result.h"
#include "vmm/kvm.h"

namespace understudy {

// Runs a guest of a few instructions in a virtual machine of its own: it writes to pages that were just protected, and to the same pages
// again; the difference is the faults. Takes some milliseconds. `clock` must be a real one.
Result<Duration> measure_protection_fault(const Kvm& kvm, const Clock& clock);

// The same, measured once a process; where that fails, what hardware virtualization takes (one line in the log). Any thread.
Duration protection_fault_here(const Kvm& kvm, const Clock& clock);

}  // namespace understudy
