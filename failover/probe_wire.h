// A probe's report as its process writes it to the pipe: fixed size, so that a write is whole or absent (pipe(7), PIPE_BUF).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "failover/probe.h"
#include "net/base/result.h"

namespace understudy {

inline constexpr std::size_t kProbeRecordBytes = 256;
using ProbeRecord = std::array<std::byte, kProbeRecordBytes>;

// Times are CLOCK_MONOTONIC's, which both processes share. A text longer than fits is cut.
ProbeRecord encode_probe(const ProbeReport& report);
// kCorrupt when it is no probe's record.
Result<ProbeReport> decode_probe(std::span<const std::byte, kProbeRecordBytes> record);

// The probe process's life: calls `exercise` every `period` and writes its reports to `out_fd`, until the reader is gone. `exercise` may
// hang. Times of the reports are set here, and their latencies are rid of what this host let the process wait for a CPU.
[[nodiscard]] int run_probe(Duration period, int out_fd, const std::function<std::vector<ProbeReport>()>& exercise);
// Of one path.
[[nodiscard]] int run_probe(ProbePath path, Duration period, int out_fd, const std::function<ProbeReport()>& exercise);

}  // namespace understudy
