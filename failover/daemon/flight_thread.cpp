#include "failover/daemon/flight_thread.h"

#include <utility>

#include "net/base/log.h"

namespace understudy {

struct FlightThread::Shared {
  std::unique_ptr<FlightDb> db;  // the thread's
  std::atomic<std::uint32_t> chunks_waiting{0};
  std::atomic<std::uint32_t> events_waiting{0};
  bool failed = false;  // the thread's: told once, until it works again

  void note(const Result<void>& put) {
    if (put.has_value() != failed) return;
    failed = !put;
    if (failed)
      log(Severity::kWarning, "flight recorder not stored", {{"reason", put.error().text()}});
    else
      log(Severity::kInfo, "flight recorder stored again");
  }
};

Result<std::unique_ptr<FlightThread>> FlightThread::start(const std::filesystem::path& path, EventLoop& answers, const Clock& clock) {
  US_ASSIGN(auto db, FlightDb::open(path, FlightDb::Access::kRecord));
  std::unique_ptr<FlightThread> out{new FlightThread{std::move(db), answers}};
  US_ASSIGN(out->thread_, LoopThread::start(clock, "flight"));
  return out;
}

FlightThread::FlightThread(std::unique_ptr<FlightDb> db, EventLoop& answers)
    : answers_{answers}, next_chunk_{db->next_chunk()}, next_event_{db->next_event()}, shared_{std::make_shared<Shared>()} {
  shared_->db = std::move(db);
}

bool FlightThread::offer(const FlightChunk& chunk) {
  if (shared_->chunks_waiting >= 2) return false;
  ++shared_->chunks_waiting;
  thread_->loop().post([shared = shared_, chunk] {
    shared->note(shared->db->put(chunk));
    --shared->chunks_waiting;
  });
  return true;
}

void FlightThread::tell(FlightEvent event) {
  if (shared_->events_waiting >= kMostWaiting) return;
  ++shared_->events_waiting;
  thread_->loop().post([shared = shared_, event = std::move(event)] {
    shared->note(shared->db->put(event));
    --shared->events_waiting;
  });
}

void FlightThread::events(std::uint64_t from, std::function<void(std::vector<FlightEvent>)> done) {
  thread_->loop().post([shared = shared_, from, done = std::move(done), answers = &answers_] {
    answers->post([done, events = shared->db->events(from, kMostEvents)]() mutable { done(std::move(events)); });
  });
}

void FlightThread::chunk(std::uint64_t from, std::function<void(std::optional<std::vector<std::byte>>)> done) {
  thread_->loop().post([shared = shared_, from, done = std::move(done), answers = &answers_] {
    answers->post([done, chunk = shared->db->chunk(from)]() mutable { done(std::move(chunk)); });
  });
}

}  // namespace understudy
