#include "failover/daemon/flight_client.h"

#include <utility>

#include "failover/daemon/operator_socket.h"
#include "failover/flight_db.h"

namespace understudy {

namespace {

constexpr Duration kDeadline = std::chrono::seconds{10};

class OfDaemon final : public FlightSource {
 public:
  explicit OfDaemon(std::filesystem::path socket) : socket_{std::move(socket)} {}

  Result<std::vector<FlightEvent>> events(std::uint64_t from) override {
    std::vector<FlightEvent> out;
    US_TRY(ask(schema::OperatorRequest::Command::EVENTS, from, [&](schema::FlightReply::Reader reply) -> Result<void> {
      for (const auto one : reply.getEvents()) {
        US_ASSIGN(auto event, read_flight_event(one));
        out.push_back(std::move(event));
      }
      return {};
    }));
    return out;
  }

  Result<std::optional<FlightChunk>> chunk(std::uint64_t from) override {
    std::optional<FlightChunk> out;
    US_TRY(ask(schema::OperatorRequest::Command::FLIGHT, from, [&](schema::FlightReply::Reader reply) -> Result<void> {
      const auto bytes = reply.getChunk();
      if (bytes.size() == 0) return {};
      US_ASSIGN(out, decode_flight_chunk(std::as_bytes(std::span{bytes.begin(), bytes.size()})));
      return {};
    }));
    return out;
  }

 private:
  Result<void> ask(schema::OperatorRequest::Command command, std::uint64_t from,
                   const std::function<Result<void>(schema::FlightReply::Reader)>& read) {
    OperatorCall call{command};
    call.from = from;
    Result<void> result;
    US_TRY(ask_daemon(socket_, call, kDeadline, [&](schema::OperatorReply::Reader reply) {
      if (reply.getOk())
        result = read(reply.getFlight());
      else
        result = Error{ErrorCode::kRefused, reply.getSentence().cStr()};
    }));
    return result;
  }

  const std::filesystem::path socket_;
};

class OfFiles final : public FlightSource {
 public:
  explicit OfFiles(std::unique_ptr<FlightDb> db) : db_{std::move(db)} {}

  Result<std::vector<FlightEvent>> events(std::uint64_t from) override { return db_->events(from, FlightDb::kEvents); }
  Result<std::optional<FlightChunk>> chunk(std::uint64_t from) override {
    const auto stored = db_->chunk(from);
    if (!stored) return std::optional<FlightChunk>{};
    US_ASSIGN(auto chunk, decode_flight_chunk(*stored));
    return std::optional{std::move(chunk)};
  }

 private:
  const std::unique_ptr<FlightDb> db_;
};

}  // namespace

std::unique_ptr<FlightSource> flight_of_daemon(std::filesystem::path socket) { return std::make_unique<OfDaemon>(std::move(socket)); }

Result<std::unique_ptr<FlightSource>> flight_of_files(const std::filesystem::path& state) {
  auto db = FlightDb::open(state / "flight", FlightDb::Access::kRead);
  if (!db) return std::move(db.error()).within("read the flight recorder");
  return std::unique_ptr<FlightSource>{std::make_unique<OfFiles>(std::move(*db))};
}

Result<std::vector<FlightEvent>> all_events(FlightSource& source) {
  std::vector<FlightEvent> out;
  while (true) {
    US_ASSIGN(auto more, source.events(out.empty() ? 0 : out.back().serial + 1));
    if (more.empty()) return out;
    out.insert(out.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
}

}  // namespace understudy
