// Switches the other host off by an agent: any command with the interface of Pacemaker's fence agents.
//
// The agent gets its options on standard input, one key=value a line, and the action as one of them (action=off). It exits with 0 when that
// was done; of `status`, with 0 when the host is on and 2 when it is off. (FenceAgentAPI.md of ClusterLabs/fence-agents.) It runs in a
// process of its own, in its own group, which is killed when its deadline passes; a process that is stuck in the kernel is left behind.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "net/base/clock.h"
#include "net/base/event_loop.h"
#include "net/base/result.h"

namespace understudy {

struct FenceAgentConfig {
  std::vector<std::string> command;  // program, by its path, and arguments
  std::vector<std::string> options;  // "ip=10.0.0.9"; never logged: passwords are among them
  Duration deadline = std::chrono::seconds{60};
};

enum class FenceAction : std::uint8_t { kOff, kOn, kStatus, kMonitor };
const char* name_of(FenceAction action);

// Loop-owned.
class FenceAgent {
 public:
  // What the agent said last, for a person. Errors: kFailed with its exit status and words, kTimeout. A status of a host that is off is
  // kRefused.
  using Done = std::function<void(Result<std::string>)>;
  // One action at a time: kBusy otherwise, through `done` as every error. `done` is called once, never from within, and not after the end.
  static std::unique_ptr<FenceAgent> create(EventLoop& loop, FenceAgentConfig config);
  virtual ~FenceAgent() = default;
  virtual void run(FenceAction action, Done done) = 0;
};

}  // namespace understudy
