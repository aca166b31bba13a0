// What the demo does to host-a: the faults, and the operator's switchover, which must lose no more than they do.
#pragma once

#include <optional>
#include <string_view>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "tests/lab/lab_pair.h"

namespace understudy::lab {

enum class Fault { kKill, kFreeze, kNic, kPartition, kSwitchover };

std::optional<Fault> fault_of(std::string_view name);
const char* name_of(Fault fault);
// What is done to whom, for the timeline.
const char* describe(Fault fault);
// The host whose process is gone for good.
std::optional<NodeId> kills(Fault fault);

// Strikes now. Freeze: thaw() ends it.
Result<void> strike(Fault fault, LabPair& pair, const Clock& clock);
void thaw(LabPair& pair);

}  // namespace understudy::lab
