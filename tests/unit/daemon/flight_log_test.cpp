// The flight recorder's log on disk, by way of its thread, and what is told of it to an operator.
#include <cstdlib>
#include <filesystem>
#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "failover/daemon/explain.h"
#include "failover/daemon/flight_thread.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

class FlightLogTest : public testing::Test {
 protected:
  FlightLogTest() {
    std::string path = std::filesystem::temp_directory_path() / "understudy-flight-XXXXXX";
    state_ = ::mkdtemp(path.data());
  }
  ~FlightLogTest() override { std::filesystem::remove_all(state_); }

  std::filesystem::path state_;
};

FlightEvent event(std::uint64_t serial, std::string kind, std::string text, Duration at = 0ns, Severity severity = Severity::kInfo) {
  // 2026-11-24 15:00:00 UTC
  return {.serial = serial,
          .at = Instant{at},
          .realtime_ns = 1'795'532'400'000'000'000 + at.count(),
          .term = Term{3},
          .role = "solo",
          .severity = severity,
          .kind = std::move(kind),
          .text = std::move(text)};
}

TEST_F(FlightLogTest, RingsKeepTheLatestAndGoOnAfterARestart) {
  {
    auto db = FlightDb::open(state_ / "flight", FlightDb::Access::kRecord);
    ASSERT_TRUE(db) << db.error().text();
    EXPECT_EQ((*db)->next_event(), 0U);
    for (std::uint64_t i = 0; i < FlightDb::kEvents + 10; ++i) ASSERT_TRUE((*db)->put(event(i, "kind", std::to_string(i))));
    FlightChunk chunk{.version = "1", .decisions = "d"};
    for (chunk.serial = 0; chunk.serial < FlightDb::kChunks + 3; ++chunk.serial) ASSERT_TRUE((*db)->put(chunk));
    // A chunk that has grown takes its own place.
    --chunk.serial;
    chunk.step_count = 5;
    ASSERT_TRUE((*db)->put(chunk));
  }
  const auto db = FlightDb::open(state_ / "flight", FlightDb::Access::kRead);
  ASSERT_TRUE(db);
  EXPECT_EQ((*db)->next_event(), FlightDb::kEvents + 10);
  EXPECT_EQ((*db)->next_chunk(), FlightDb::kChunks + 3);
  const auto oldest = (*db)->events(0, 2);
  ASSERT_EQ(oldest.size(), 2U);
  EXPECT_EQ(oldest[0].serial, 10U);
  EXPECT_EQ(oldest[1].text, "11");
  EXPECT_TRUE((*db)->events((*db)->next_event(), 100).empty());
  const auto first = (*db)->chunk(0);
  ASSERT_TRUE(first);
  EXPECT_EQ(decode_flight_chunk(*first)->serial, 3U);
  const auto last = (*db)->chunk(FlightDb::kChunks + 2);
  ASSERT_TRUE(last);
  EXPECT_EQ(decode_flight_chunk(*last)->step_count, 5U);
  EXPECT_FALSE((*db)->chunk(FlightDb::kChunks + 3));
}

TEST_F(FlightLogTest, ReadingMakesNone) {
  const auto source = flight_of_files(state_);
  ASSERT_FALSE(source);
  EXPECT_THAT(source.error().text(), HasSubstr("read the flight recorder"));
  EXPECT_FALSE(std::filesystem::exists(state_ / "flight"));
}

TEST_F(FlightLogTest, TheThreadStoresAndAnswers) {
  const MonotonicClock clock;
  auto loop = LoopThread::start(clock, "answers");
  ASSERT_TRUE(loop);
  {
    const auto flight = FlightThread::start(state_ / "flight", (*loop)->loop(), clock);
    ASSERT_TRUE(flight) << flight.error().text();
    FlightRecorder recorder{**flight, (*flight)->next_chunk(), (*flight)->next_event(), realtime_ns};
    NodeConfig config;
    config.node = NodeId::kB;
    Node node{config};
    recorder.step(node, Instant{1s}, input::Started{{NodeId::kB, Incarnation{5}}, {}, {}, {}});
    for (int i = 1; i < 50; ++i) recorder.step(node, Instant{1s} + i * 10ms, input::Tick{});
    recorder.flush();
    std::promise<std::vector<FlightEvent>> told;
    (*flight)->events(0, [&](std::vector<FlightEvent> events) { told.set_value(std::move(events)); });
    const auto events = told.get_future().get();
    ASSERT_FALSE(events.empty());
    EXPECT_EQ(events[0].kind, "started");
    std::promise<std::optional<std::vector<std::byte>>> kept;
    (*flight)->chunk(0, [&](std::optional<std::vector<std::byte>> chunk) { kept.set_value(std::move(chunk)); });
    ASSERT_TRUE(kept.get_future().get());
  }
  const auto source = flight_of_files(state_);
  ASSERT_TRUE(source) << source.error().text();
  const auto summary = replay_all(**source);
  ASSERT_TRUE(summary);
  EXPECT_EQ(summary->chunks, 1U);
  EXPECT_EQ(summary->steps, 50U);
  EXPECT_TRUE(summary->differences.empty());
  EXPECT_THAT(replay_as_text(*summary), HasSubstr("replayed 50 steps"));
  EXPECT_THAT(replay_as_text(*summary), HasSubstr("the same decisions"));
  EXPECT_THAT(replay_as_json(*summary), HasSubstr("\"steps\": 50"));
}

TEST(Explain, TellsTheLatestStoryAndWhatCameSince) {
  const std::vector<FlightEvent> events{
      event(1, "session up", "long ago"),
      event(2, "detected", "node a is silent", 3600s),
      event(3, "granted", "term 3", 3600s + 5ms),
      event(4, "role", "solo, term 3: took over", 3600s + 9ms),
      event(5, "guest runs", "took over", 3600s + 20ms),
      event(6, "session up", "7", 4000s),
      event(7, "probe", "storage: EIO", 4001s, Severity::kError),
  };
  const std::string text = explain(std::nullopt, events);
  EXPECT_THAT(text, HasSubstr("the daemon does not answer; when it last told of itself"));
  const auto how = text.substr(text.find("how it came to this"), text.find("since then") - text.find("how it came to this"));
  EXPECT_THAT(how, HasSubstr("detected: node a is silent"));
  EXPECT_THAT(how, HasSubstr("role: solo, term 3: took over"));
  EXPECT_THAT(how, HasSubstr("guest runs"));
  EXPECT_THAT(how, Not(HasSubstr("long ago")));
  const auto since = text.substr(text.find("since then"));
  EXPECT_THAT(since, HasSubstr("storage: EIO"));
  EXPECT_THAT(since, Not(HasSubstr("session up"))) << "what went well is in `understudy events`";

  const std::string json = explain_as_json(std::nullopt, events);
  EXPECT_THAT(json, HasSubstr("\"time\": \"2026-11-24T16:00:00.005000Z\""));
}

TEST(Explain, SaysThatNothingIsRecorded) {
  EXPECT_THAT(explain(std::nullopt, {}), HasSubstr("nothing is recorded yet"));
  EXPECT_THAT(explain(std::nullopt, std::vector{event(1, "session up", "")}), HasSubstr("no change of roles is recorded"));
}

TEST(Events, AreOneLineEach) {
  const auto one = event(9, "detected", "node a is silent", 1ms, Severity::kWarning);
  EXPECT_THAT(event_as_text(one),
              testing::MatchesRegex("2026-11-2[0-9] [0-9:]+\\.001  warning  solo       term 3     detected: node a is silent\n"));
  EXPECT_EQ(event_as_json(one),
            "{\"serial\":9,\"time\":\"2026-11-24T15:00:00.001000Z\",\"term\":3,\"role\":\"solo\",\"severity\":\"warning\","
            "\"kind\":\"detected\",\"text\":\"node a is silent\",\"monotonicNs\":1000000}\n");
}

}  // namespace
}  // namespace understudy
