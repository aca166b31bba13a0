// The flight recorder on a bench: what it keeps, tells and replays, and what it refuses. Whole pairs are recorded in tests/sim.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "failover/flight_recorder.h"
#include "failover/flight_replay.h"
#include "failover/node_archive.h"
#include "tests/unit/failover/node_bench.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::HasSubstr;

class Memory final : public FlightSink {
 public:
  bool offer(const FlightChunk& chunk) override {
    if (full) return false;
    if (!chunks.empty() && chunks.back().serial == chunk.serial) chunks.pop_back();
    chunks.push_back(chunk);
    return true;
  }
  void tell(FlightEvent event) override { events.push_back(std::move(event)); }

  bool full = false;
  std::vector<FlightChunk> chunks;
  std::vector<FlightEvent> events;
};

NodeConfig secondary() {
  NodeConfig config;
  config.node = NodeId::kB;
  return config;
}

class FlightTest : public testing::Test {
 protected:
  std::vector<Action> step(const Input& input, Duration later = 10ms) {
    now_ += later;
    return recorder_.step(node_, now_, input);
  }
  void start() { step(input::Started{{NodeId::kB, kOurs}, Term{3}, Term{3}, {}}); }
  void tick(int times) {
    for (int i = 0; i < times; ++i) step(input::Tick{});
  }

  Memory memory_;
  Node node_{secondary()};
  FlightRecorder recorder_{memory_, 7, 40, [this] { return to_ns(now_) + 1'000'000'000'000; }, {.chunk_bytes = 600, .offer_every = 1s}};
  Instant now_{1h};
};

TEST_F(FlightTest, ChunksAreWholeByThemselvesAndReplay) {
  start();
  tick(300);
  recorder_.flush();
  ASSERT_GT(memory_.chunks.size(), 2U);
  std::uint64_t steps = 0;
  for (std::size_t i = 0; i < memory_.chunks.size(); ++i) {
    const FlightChunk& chunk = memory_.chunks[i];
    EXPECT_EQ(chunk.serial, 7 + i);
    EXPECT_EQ(chunk.missing, 0U);
    const auto stored = decode_flight_chunk(encode_flight_chunk(chunk));
    ASSERT_TRUE(stored) << stored.error().text();
    const auto report = replay(*stored);
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_FALSE(report->difference) << *report->difference;
    steps += report->steps;
  }
  EXPECT_EQ(steps, 301U);
}

TEST_F(FlightTest, TellsWhatAPersonWouldAsk) {
  start();
  step(input::Command{CommandId{5}, CommandKind::kTakeover});
  tick(700);
  std::vector<std::string> told;
  for (const FlightEvent& event : memory_.events) told.push_back(event.kind + ": " + event.text);
  EXPECT_THAT(told, Contains(HasSubstr("started: incarnation 101, stored term 3, promise 3")));
  EXPECT_THAT(told, Contains("command: takeover"));
  EXPECT_THAT(told, Contains(testing::StartsWith("command refused: ")));
  for (std::size_t i = 0; i < memory_.events.size(); ++i) EXPECT_EQ(memory_.events[i].serial, 40 + i);
  EXPECT_EQ(memory_.events[0].realtime_ns, to_ns(memory_.events[0].at) + 1'000'000'000'000);
}

TEST_F(FlightTest, TheReplayTellsTheSame) {
  start();
  step(input::Command{CommandId{5}, CommandKind::kSwitchover});
  recorder_.flush();
  std::vector<FlightEvent> told;
  ASSERT_TRUE(replay(memory_.chunks.at(0), [&](const FlightEvent& event) { told.push_back(event); }));
  ASSERT_EQ(told.size(), memory_.events.size());
  for (std::size_t i = 0; i < told.size(); ++i) {
    told[i].serial = memory_.events[i].serial;
    EXPECT_EQ(told[i], memory_.events[i]);
  }
}

TEST_F(FlightTest, AChunkThatFoundNoPlaceIsCountedInTheNext) {
  memory_.full = true;
  start();
  tick(150);
  memory_.full = false;
  tick(300);
  ASSERT_FALSE(memory_.chunks.empty());
  EXPECT_GT(memory_.chunks.back().missing, 0U);
  const auto report = replay(memory_.chunks.back());
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->difference);
}

TEST_F(FlightTest, ADecisionThatDiffersIsFound) {
  start();
  tick(3);
  recorder_.flush();
  FlightChunk chunk = memory_.chunks.at(0);
  // The same inputs, given to a node that was configured otherwise.
  NodeConfig other = secondary();
  other.heartbeat_every = 20ms;
  chunk.image = Node{other}.save();
  const auto report = replay(chunk);
  ASSERT_TRUE(report) << report.error().text();
  ASSERT_TRUE(report->difference);
  EXPECT_THAT(*report->difference, HasSubstr("came out otherwise than recorded"));
}

TEST_F(FlightTest, OtherDecisionCodeIsNamed) {
  start();
  recorder_.flush();
  FlightChunk chunk = memory_.chunks.at(0);
  chunk.version = "9.9.9";
  chunk.decisions = "0123456789abcdef";
  const auto report = replay(chunk);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code(), ErrorCode::kUnsupportedVersion);
  EXPECT_THAT(report.error().text(), HasSubstr("recorded by understudyd 9.9.9 with decisions 0123456789abcdef"));
}

TEST_F(FlightTest, DamageIsRefused) {
  start();
  tick(20);
  recorder_.flush();
  const FlightChunk& whole = memory_.chunks.at(0);

  FlightChunk cut = whole;
  cut.steps.resize(cut.steps.size() / 2);
  const auto report = replay(cut);
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().text(), HasSubstr("is damaged"));

  FlightChunk longer = whole;
  longer.steps.push_back(std::byte{1});
  EXPECT_EQ(replay(longer).error().code(), ErrorCode::kCorrupt);

  for (std::size_t size = 0; size < whole.image.size(); ++size) {
    const auto node = Node::restore(std::span{whole.image}.first(size));
    ASSERT_FALSE(node) << size << " of " << whole.image.size() << " bytes";
    EXPECT_EQ(node.error().code(), ErrorCode::kCorrupt);
  }

  const auto bytes = encode_flight_chunk(whole);
  EXPECT_FALSE(decode_flight_chunk(std::span{bytes}.first(bytes.size() / 2)));
  EXPECT_FALSE(decode_flight_chunk({}));
}

TEST(Archive, KeepsEveryKindOfInput) {
  Heartbeat beat;
  beat.sender = {NodeId::kA, kTheirs};
  beat.sequence = 9;
  beat.role = Role::kPrimary;
  beat.committed = {Term{4}, Epoch{77}};
  beat.guest = "rebooted";
  beat.handover = HandoverOffer{Term{4}, {Term{4}, Epoch{78}}};
  beat.evidence = {{ProbePath::kStorage, Health::kFailed, -5ns, "EIO"}};
  ArbiterAnswer answer{.granted = true, .record = ArbiterRecord{}, .store = StoreId{1}, .reason = ""};
  answer.record->term = Term{~0ULL};
  answer.record->eligible = {{NodeId::kB, kOurs}, {NodeId::kA, kTheirs}};
  const std::vector<Input> inputs{
      input::HeartbeatReceived{beat},           input::Probed{{ProbePath::kGuestDisk, Health::kDegraded, Instant{1s}, Instant{2s}, "slow"}},
      input::ArbiterAnswered{AskId{3}, answer}, input::EpochCommitted{Session{5}, {Term{1}, Epoch{2}}, "powered off"},
      input::LoopGap{Duration::min()},
  };
  for (const Input& input : inputs) {
    std::vector<std::byte> bytes;
    ArchiveWriter writer{bytes};
    Input copy = input;
    writer(copy);
    ArchiveReader reader{bytes};
    Input read;
    reader(read);
    ASSERT_TRUE(reader.ok());
    EXPECT_EQ(reader.bytes_left(), 0U);
    EXPECT_EQ(read.index(), input.index());
    std::vector<std::byte> again;
    ArchiveWriter{again}(read);
    EXPECT_EQ(again, bytes);
  }
}

TEST(Archive, RefusesWhatATypeDoesNotName) {
  const auto reads = [](auto value, std::initializer_list<unsigned char> raw) {
    std::vector<std::byte> bytes;
    for (const unsigned char byte : raw) bytes.push_back(std::byte{byte});
    ArchiveReader reader{bytes};
    reader(value);
    return reader.ok();
  };
  EXPECT_TRUE(reads(Role{}, {4}));
  EXPECT_FALSE(reads(Role{}, {5}));
  EXPECT_FALSE(reads(bool{}, {2}));
  EXPECT_FALSE(reads(std::string{}, {3, 'a', 'b'}));
  EXPECT_FALSE(reads(Input{}, {26}));
  EXPECT_FALSE(reads(std::vector<NodeIncarnation>{}, {0xff, 0xff, 0xff, 0xff, 0x7f}));
  EXPECT_TRUE(reads(Term{}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}));
  EXPECT_FALSE(reads(Term{}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02})) << "more than 64 bits";
  EXPECT_FALSE(reads(Term{}, {0x80}));
  EXPECT_FALSE(reads(Term{}, {}));
}

}  // namespace
}  // namespace understudy
