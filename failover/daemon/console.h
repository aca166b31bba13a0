// The guest's serial console for who looks on: the latest of its output, kept here, and handed out to those who ask for more.
//
// A viewer asks for what follows the byte that it has. Nothing is pushed and nothing is kept for a viewer, so a slow one loses the oldest
// output, and one that went away costs nothing. The console shows what the guest wrote, whether or not that epoch commits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "net/base/event_loop.h"
#include "vmm/backend.h"

namespace understudy {

struct ConsoleOutput {
  std::uint64_t from = 0;  // place of the first byte in all that the guest wrote
  std::vector<std::byte> bytes;
};

// A ring over the latest output. Any thread; write() allocates nothing, and wakes somebody at most once for each call_when_beyond().
class ConsoleBacklog {
 public:
  static constexpr std::size_t kBytes = std::size_t{64} << 10;

  void write(ConstBytes bytes);
  // Where the output ends now.
  std::uint64_t end() const;
  // At most `most` bytes from place `from` on; from the oldest that is kept, when that is later. Empty at the end, and beyond it.
  ConsoleOutput read(std::uint64_t from, std::size_t most) const;
  // Calls `written` once, when the output goes beyond `place`: now, or on the thread that writes. Replaces the call before; may be empty.
  void call_when_beyond(std::uint64_t place, std::function<void()> written);

 private:
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<std::byte> ring_ = std::vector<std::byte>(kBytes);
  std::uint64_t end_ = 0;
  std::uint64_t place_ = 0;
  std::function<void()> written_;
};

// Answers those who ask for output: at once where there is some, else when there is, or with nothing after `patience`. Loop-owned.
class ConsoleDesk {
 public:
  using Reply = std::function<void(const ConsoleOutput&)>;
  static constexpr std::size_t kMaxReplyBytes = std::size_t{16} << 10;
  static constexpr std::size_t kMaxWaiting = 8;  // one more is answered with nothing, and asks again

  ConsoleDesk(EventLoop& loop, std::shared_ptr<ConsoleBacklog> backlog, Duration patience = std::chrono::seconds{1});
  ~ConsoleDesk();
  ConsoleDesk(const ConsoleDesk&) = delete;
  ConsoleDesk& operator=(const ConsoleDesk&) = delete;

  // `reply` is called once, on the loop; not at all if the desk goes first.
  void read(std::uint64_t from, Reply reply);

 private:
  struct Waiting {
    std::uint64_t from;
    Reply reply;
    EventLoop::TimerId timer = 0;
  };
  void answer_all();

  EventLoop& loop_;
  const std::shared_ptr<ConsoleBacklog> backlog_;
  const Duration patience_;
  std::list<Waiting> waiting_;
  EventLoop::TimerId gathering_ = 0;  // 0: not
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace understudy
