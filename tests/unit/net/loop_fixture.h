// A test whose subjects live on an event loop with a thread of its own, as they do in the daemon.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>

#include <gtest/gtest.h>

#include "net/base/event_loop.h"

namespace understudy {

class LoopTest : public testing::Test {
 protected:
  // Only a hang takes so long.
  static constexpr std::chrono::seconds kHang{30};

  LoopTest() : thread_{LoopThread::start(clock_, "test-loop").value()} {}

  EventLoop& loop() { return thread_->loop(); }

  // Runs `work` on the loop, and returns what it returns. Subjects are made, used and destroyed in here.
  template <class Work>
  auto on_loop(Work work) {
    using Out = std::invoke_result_t<Work>;
    if constexpr (std::is_void_v<Out>) {
      EXPECT_TRUE(loop().post_and_wait([&] { work(); }, kHang));
    } else {
      std::optional<Out> out;
      EXPECT_TRUE(loop().post_and_wait([&] { out.emplace(work()); }, kHang));
      return std::move(*out);
    }
  }
  // Whether `happened` (asked on the loop) comes true.
  template <class Predicate>
  [[nodiscard]] bool eventually(Predicate happened) {
    const Instant give_up = clock_.now() + kHang;
    while (!on_loop([&] { return static_cast<bool>(happened()); })) {
      if (clock_.now() > give_up) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    return true;
  }

  MonotonicClock clock_;

 private:
  std::unique_ptr<LoopThread> thread_;
};

}  // namespace understudy
