// The flight recorder's log behind a thread of its own: a disk that hangs loses records, and holds nothing up.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "failover/flight_db.h"
#include "failover/flight_recorder.h"
#include "net/base/event_loop.h"
#include "net/base/result.h"

namespace understudy {

class FlightThread final : public FlightSink {
 public:
  static constexpr std::size_t kMostEvents = 256;  // an answer

  // Opens the log at `path`, or makes it. Answers come on `answers`, which outlives the result.
  static Result<std::unique_ptr<FlightThread>> start(const std::filesystem::path& path, EventLoop& answers, const Clock& clock);

  std::uint64_t next_chunk() const { return next_chunk_; }
  std::uint64_t next_event() const { return next_event_; }

  // On the node's loop; neither waits. At most two chunks and kMostWaiting events wait for the disk; what comes beyond is dropped and
  // counted.
  bool offer(const FlightChunk& chunk) override;
  void tell(FlightEvent event) override;

  // For an operator; `done` may never come, while the disk hangs.
  void events(std::uint64_t from, std::function<void(std::vector<FlightEvent>)> done);
  void chunk(std::uint64_t from, std::function<void(std::optional<std::vector<std::byte>>)> done);

 private:
  static constexpr std::uint32_t kMostWaiting = 1024;
  struct Shared;
  FlightThread(std::unique_ptr<FlightDb> db, EventLoop& answers);

  EventLoop& answers_;
  const std::uint64_t next_chunk_;
  const std::uint64_t next_event_;
  const std::shared_ptr<Shared> shared_;  // with messages that a stuck disk may keep alive
  std::unique_ptr<LoopThread> thread_;
};

}  // namespace understudy
