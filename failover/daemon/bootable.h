// Whether a configured guest can be booted at all, without booting it.
#pragma once

#include "failover/daemon/config.h"
#include "net/base/result.h"

namespace understudy {

// Loads kernel, initrd and command line into memory of the guest's size, and lets go of it again. The error names the file and what is
// wrong.
Result<void> check_bootable(const DaemonConfig::Vm& vm);

}  // namespace understudy
