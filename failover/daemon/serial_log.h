// The guest's serial output as lines of the daemon's log.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "net/base/log.h"
#include "vmm/backend.h"

namespace understudy {

// A sink for vCPU threads: cheap, never blocks.
class SerialLog {
 public:
  void operator()(ConstBytes bytes) {
    const std::lock_guard lock{state_->mutex};
    for (const std::byte byte : bytes) {
      const char c = static_cast<char>(byte);
      if (c == '\n' || state_->line.size() >= kMaxLineBytes) {
        if (!state_->line.empty()) log(Severity::kInfo, "serial", {{"line", state_->line}});
        state_->line.clear();
      }
      if (c != '\n' && c != '\r') state_->line.push_back(c);
    }
  }

 private:
  static constexpr std::size_t kMaxLineBytes = 400;
  struct State {
    std::mutex mutex;  // vCPUs may write at once
    std::string line;  // guarded by mutex
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace understudy
