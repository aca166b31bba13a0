// The judge of a service that may start afresh: a guest that resets itself, crashes or powers off loses what was only in its memory, which
// the service's numbers and values are. So each boot has a history of its own, and one follows the other.
//
// Pure. What no boot may lose is on the disk: disk_log.h.
#pragma once

#include <cstdint>
#include <span>

#include "tests/lab/history.h"

namespace understudy::lab {

// As judge_history() for each boot by itself, added up: a request that one boot executed may be executed again by a later one, if the
// client repeated it. Beyond that, what is asked when a boot has answered is not answered by the boot before.
HistoryFindings judge_boots(std::span<const AcknowledgedReply> replies, std::uint64_t unanswered);

}  // namespace understudy::lab
