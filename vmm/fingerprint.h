// Whether one host can continue the other's guest, decided at the handshake from what both say of themselves. Pure.
#pragma once

#include "net/base/result.h"
#include "vmm/checkpoint_source.h"

namespace understudy {

// kRefused names the first thing that `secondary` lacks to run what `primary` runs: memory layout, vCPU count, devices, XSAVE size, TSC
// frequency, CPU features (all that are missing, by name). Features that only the secondary has do no harm: the guest never sees them.
Result<void> compatible(const MachineFingerprint& primary, const MachineFingerprint& secondary);

}  // namespace understudy
