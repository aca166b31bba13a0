// The process around a daemon: signals, locked memory, and an exit that never hangs.
#pragma once

#include "net/base/clock.h"
#include "net/base/result.h"

namespace understudy {

// Blocks SIGINT and SIGTERM for this and all later threads, so that wait_for_stop_signal() gets them; ignores SIGPIPE. Call before threads
// start.
void prepare_signals();
// Returns the first SIGINT or SIGTERM.
int wait_for_stop_signal();

// Keeps code and stacks in memory: a verdict or a takeover must not wait for a page from the disk that has just failed (design: "Who may
// run the guest", rule 7). What is mapped now is locked, what comes later when first touched. The error says what was not possible and why
// that is a weakness; the daemon may go on.
Result<void> lock_memory();

// Ends the process with `exit_code` if it is still there after `grace`: a thread stuck in the kernel must not keep it alive. Any thread,
// once.
void exit_after(Duration grace, int exit_code);

}  // namespace understudy
