// A program that the daemon starts, with signals as programs expect them, not as the daemon's threads have them; and its end, for which
// nobody waits.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "net/base/result.h"

namespace understudy {

enum class ChildGroup {
  kOurs,  // it hears what a terminal or a service manager tells the daemon
  kOwn,   // what it starts in turn ends with it
};

// What the program has as its standard input, output and error; -1: the daemon's.
struct ChildStreams {
  int in = -1;
  int out = -1;
  int error = -1;
};

// `command` begins with the program's path. An error says `operation`. Any thread.
Result<pid_t> start_child(const std::string& operation, const std::vector<std::string>& command, ChildStreams streams, ChildGroup group);
// SIGKILL, and reaps it where it ends at once. One that is stuck in the kernel is reaped by init once the daemon is gone.
void end_child(pid_t child, ChildGroup group);

}  // namespace understudy
