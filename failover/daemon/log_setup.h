// The process's log: spdlog behind net/base/log.h. One line an event; the node's standing fields come with every line.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "net/base/ids.h"
#include "net/base/result.h"

namespace understudy {

// Installs the sink: to `file`, or to standard error. Lines go through a bounded queue to a thread of its own; when that is full the oldest
// are dropped, since a log never holds up the guest. `level`: debug, info, warning, error. Call once, before threads start.
Result<void> start_log(const std::optional<std::filesystem::path>& file, const std::string& level);
// Writes out what is queued, waiting at most for as long as the log's own thread needs; lines after it are dropped.
void stop_log();

// Fields that every line carries. Any thread; takes effect with the next line.
void set_log_pair(std::string pair, NodeId node);
void set_log_role(std::string role, Term term);
void set_log_epoch(Epoch epoch);

}  // namespace understudy
