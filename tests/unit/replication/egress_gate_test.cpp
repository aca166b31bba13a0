// The egress gate: order, modes, bounds, back-pressure, the gap guard, and what happens between threads.
#include "replication/egress_gate.h"

#include <cstring>
#include <poll.h>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include "tests/support/fake_port.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::size_t pump(EgressGate& gate, Instant now) {
  ManualClock clock;
  clock.set(now);
  return gate.pump(clock);
}

class EgressGateTest : public ::testing::Test {
 protected:
  static constexpr Term kTerm{4};
  EgressGateTest() { build({}); }
  void build(EgressGateConfig config) { gate = *EgressGate::create(port, config); }

  bool send(std::uint8_t value, std::size_t bytes = 60, const FrameOffload& offload = {}) {
    const std::vector<std::byte> head(14, std::byte{value});
    const std::vector<std::byte> body(bytes - 14, std::byte{value});
    const std::array<ConstBytes, 3> pieces{ConstBytes{head}, ConstBytes{}, ConstBytes{body}};
    return gate->transmit(offload, pieces);
  }
  // What left since the last call: the first byte of each.
  std::vector<int> left() {
    while (pump(*gate, now) == EgressGate::kBurst) {
    }
    std::vector<int> values;
    for (const auto& frame : port.sent()) values.push_back(std::to_integer<int>(frame[0]));
    port.sent().clear();
    return values;
  }

  Instant now{1s};
  fake::FakePort port;
  std::unique_ptr<EgressGate> gate;
};

TEST_F(EgressGateTest, TellsOfTheFirstFrameOfEachEpochThatWaits) {
  std::vector<Epoch> told;
  gate->on_output([&](Epoch epoch) { told.push_back(epoch); });
  send(1);  // muted
  gate->pair(kTerm);
  send(2);
  send(3);
  gate->close_epoch(Epoch{1});
  gate->close_epoch(Epoch{2});
  send(4);
  gate->solo(kTerm);
  gate->close_epoch(Epoch{3});
  send(5);  // waits for nothing
  EXPECT_THAT(told, ElementsAre(Epoch{1}, Epoch{3}));
}

TEST_F(EgressGateTest, BeginsMuteDroppingAndCounting) {
  EXPECT_TRUE(send(1));
  EXPECT_THAT(left(), IsEmpty());
  gate->solo(kTerm);
  EXPECT_THAT(left(), IsEmpty());
  EXPECT_EQ(gate->stats().dropped_muted, 1U);
}

TEST_F(EgressGateTest, FramesLeaveWholeAndInOrder) {
  gate->solo(kTerm);
  ASSERT_TRUE(send(1, 1500));
  ASSERT_TRUE(send(2, 60));
  pump(*gate, now);
  ASSERT_EQ(port.sent().size(), 2U);
  EXPECT_EQ(port.sent()[0], std::vector<std::byte>(1500, std::byte{1}));
  EXPECT_EQ(port.sent()[1], std::vector<std::byte>(60, std::byte{2}));
}

TEST_F(EgressGateTest, EachFrameWaitsAndLeavesWithItsOwnOffload) {
  build({.ring_bytes = 2 * NetBackend::kMaxFrameBytes, .ring_frames = 3});
  gate->pair(kTerm);
  std::vector<FrameOffload> given;
  for (std::uint16_t i = 0; i < 12; ++i) {  // the ring's places are used again and again
    given.push_back({.flags = FrameOffload::kNeedsChecksum,
                     .segmentation = i % 3 == 0 ? FrameOffload::kTcpIpv4 : FrameOffload::kNone,
                     .header_bytes = 54,
                     .segment_bytes = i,
                     .checksum_start = 34,
                     .checksum_offset = 16});
    ASSERT_TRUE(send(1, 40'000, given.back()));
    if (i % 2 == 0) continue;
    gate->close_epoch(gate->open_epoch());
    gate->commit(kTerm, Epoch{gate->open_epoch().raw() - 1});
    EXPECT_EQ(left().size(), 2U);
  }
  EXPECT_EQ(port.sent_offloads(), given);
}

TEST_F(EgressGateTest, TheGuestsReceiveOffloadsReachThePortWithThePump) {
  int wakes = 0;
  gate->on_sendable([&] { ++wakes; });
  const Offloads some{.checksum = true, .tcp_ipv4 = true};
  gate->set_receive_offloads(some);
  EXPECT_THAT(port.receive_offloads(), IsEmpty()) << "the device loop does not wait for the kernel";
  EXPECT_EQ(wakes, 1);
  pump(*gate, now);
  pump(*gate, now);
  EXPECT_THAT(port.receive_offloads(), ElementsAre(some));
  gate->set_receive_offloads(some);
  gate->set_receive_offloads({});
  pump(*gate, now);
  EXPECT_THAT(port.receive_offloads(), ElementsAre(some, Offloads{})) << "the latest counts";
  port.set_error(Error{ErrorCode::kUnavailable, "tap0 was deleted"});
  gate->set_receive_offloads(some);
  pump(*gate, now);
  EXPECT_EQ(gate->stats().offload_errors, 1U);
}

TEST_F(EgressGateTest, PairReleasesByEpoch) {
  gate->pair(kTerm);
  ASSERT_TRUE(send(1));
  gate->close_epoch(Epoch{1});
  ASSERT_TRUE(send(2));
  gate->close_epoch(Epoch{2});
  ASSERT_TRUE(send(3));
  EXPECT_THAT(left(), IsEmpty());
  gate->commit(kTerm, Epoch{1});
  EXPECT_THAT(left(), ElementsAre(1));
  gate->commit(kTerm, Epoch{2});
  gate->commit(kTerm, Epoch{1});  // late: never back
  EXPECT_THAT(left(), ElementsAre(2));
  EXPECT_EQ(gate->stats().depth_frames, 1U);
  EXPECT_EQ(gate->stats().depth_bytes, 60U);
  gate->close_epoch(Epoch{3});
  gate->commit(kTerm, Epoch{3});
  EXPECT_THAT(left(), ElementsAre(3));
  EXPECT_TRUE(gate->empty());
}

TEST_F(EgressGateTest, CommitsOfAnotherTermOpenNothing) {
  gate->pair(kTerm);
  ASSERT_TRUE(send(1));
  gate->close_epoch(Epoch{1});
  gate->commit(Term{3}, Epoch{1});
  gate->commit(Term{5}, Epoch{1});
  EXPECT_THAT(left(), IsEmpty());
  EXPECT_EQ(gate->stats().foreign_commits, 2U);
}

TEST_F(EgressGateTest, ANewTermNeedsItsOwnCommits) {
  gate->pair(kTerm);
  ASSERT_TRUE(send(1));
  gate->close_epoch(Epoch{1});
  gate->commit(kTerm, Epoch{1});
  gate->pair(Term{5});
  EXPECT_THAT(left(), IsEmpty());
  gate->commit(Term{5}, Epoch{1});
  EXPECT_THAT(left(), ElementsAre(1));
}

TEST_F(EgressGateTest, HoldKeepsAndTheSameTermGoesOn) {
  gate->pair(kTerm);
  ASSERT_TRUE(send(1));
  gate->close_epoch(Epoch{1});
  gate->hold(kTerm);
  gate->commit(kTerm, Epoch{1});
  ASSERT_TRUE(send(2));
  EXPECT_THAT(left(), IsEmpty());
  gate->pair(kTerm);
  EXPECT_THAT(left(), ElementsAre(1));
  gate->solo(kTerm);
  EXPECT_THAT(left(), ElementsAre(2));
}

TEST_F(EgressGateTest, FromSoloToPairOutputWaitsForAcks) {
  gate->solo(kTerm);
  ASSERT_TRUE(send(1));
  EXPECT_THAT(left(), ElementsAre(1));
  gate->pair(kTerm);
  ASSERT_TRUE(send(2));
  EXPECT_THAT(left(), IsEmpty());
  gate->close_epoch(Epoch{1});
  gate->commit(kTerm, Epoch{1});
  EXPECT_THAT(left(), ElementsAre(2));
}

TEST_F(EgressGateTest, MuteDropsWhatWaitsForGood) {
  gate->pair(kTerm);
  ASSERT_TRUE(send(1));
  gate->close_epoch(Epoch{1});
  gate->mute();
  gate->commit(kTerm, Epoch{1});
  gate->pair(kTerm);
  gate->commit(kTerm, Epoch{1});
  EXPECT_THAT(left(), IsEmpty());
  EXPECT_TRUE(gate->empty());
  EXPECT_EQ(gate->stats().dropped_muted, 1U);
}

TEST_F(EgressGateTest, DropAllKeepsTheMode) {
  gate->pair(kTerm);
  ASSERT_TRUE(send(1));
  gate->drop_all();
  ASSERT_TRUE(send(2));
  gate->close_epoch(Epoch{1});
  gate->commit(kTerm, Epoch{1});
  EXPECT_THAT(left(), ElementsAre(2));
}

TEST_F(EgressGateTest, AFullRingPushesBackAndTellsWhenThereIsRoom) {
  build({.ring_bytes = 2 * NetBackend::kMaxFrameBytes, .ring_frames = 4});
  gate->pair(kTerm);
  for (std::uint8_t i = 1; i <= 4; ++i) ASSERT_TRUE(send(i));
  EXPECT_FALSE(send(5));
  eventfd_t value = 0;
  EXPECT_NE(::eventfd_read(gate->room_fd(), &value), 0);
  gate->close_epoch(Epoch{1});
  gate->commit(kTerm, Epoch{1});
  EXPECT_THAT(left(), ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(::eventfd_read(gate->room_fd(), &value), 0);
  EXPECT_TRUE(send(5));
  EXPECT_EQ(gate->stats().refused_full, 1U);
}

TEST_F(EgressGateTest, BytesAreBoundedTooAndTheRingWrapsInWholeFrames) {
  build({.ring_bytes = 2 * NetBackend::kMaxFrameBytes, .ring_frames = 1000});
  gate->pair(kTerm);
  std::uint64_t epoch = 1;
  for (int round = 0; round < 20; ++round) {
    std::vector<int> accepted;
    std::uint8_t value = 1;
    while (send(value, 9'000 + static_cast<std::size_t>(round) * 1'111)) accepted.push_back(value++);
    EXPECT_LE(gate->stats().depth_bytes, 2 * NetBackend::kMaxFrameBytes);
    EXPECT_GE(accepted.size(), 2U);
    gate->close_epoch(Epoch{epoch});
    gate->commit(kTerm, Epoch{epoch++});
    // Some leave, new ones come behind the rest, then all.
    port.set_room(2);
    EXPECT_EQ(pump(*gate, now), 2U);
    while (send(value, 5'000)) accepted.push_back(value++);
    gate->close_epoch(Epoch{epoch});
    gate->commit(kTerm, Epoch{epoch++});
    port.set_room(1000);
    EXPECT_EQ(left(), accepted);
  }
}

TEST_F(EgressGateTest, ABusyPortKeepsTheFrame) {
  gate->solo(kTerm);
  ASSERT_TRUE(send(1));
  port.set_room(0);
  EXPECT_THAT(left(), IsEmpty());
  EXPECT_TRUE(gate->sendable());
  port.set_room(10);
  EXPECT_THAT(left(), ElementsAre(1));
}

TEST_F(EgressGateTest, ABrokenPortDropsAndCounts) {
  gate->solo(kTerm);
  ASSERT_TRUE(send(1));
  port.set_error(Error{ErrorCode::kUnavailable, "tap0 is down"});
  EXPECT_THAT(left(), IsEmpty());
  EXPECT_TRUE(gate->empty());
  EXPECT_EQ(gate->stats().dropped_by_port, 1U);
}

TEST_F(EgressGateTest, OneCallSendsABurstAtMost) {
  gate->solo(kTerm);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(send(7));
  EXPECT_EQ(pump(*gate, now), EgressGate::kBurst);
  EXPECT_TRUE(gate->sendable());
  EXPECT_EQ(pump(*gate, now), 100 - EgressGate::kBurst);
}

// ------------------------------------------------------------------------------------------------------------ gap guard

class GapTest : public EgressGateTest {
 protected:
  GapTest() {
    gate->on_gap([this](Instant, Duration length) { gaps.push_back(length); });
    gate->solo(kTerm);
    pump(*gate, now);
  }
  void stand_still(Duration length) {
    now += length;
    pump(*gate, now);
  }
  std::vector<Duration> gaps;
};

TEST_F(GapTest, ShortSilencesAreNone) {
  for (int i = 0; i < 10; ++i) stand_still(250ms);
  ASSERT_TRUE(send(1));
  EXPECT_THAT(left(), ElementsAre(1));
  EXPECT_THAT(gaps, IsEmpty());
}

TEST_F(GapTest, AStopInTheMidstOfABurstHoldsTheRestOfIt) {
  gate->solo(kTerm);
  for (std::uint8_t value = 1; value <= 3; ++value) ASSERT_TRUE(send(value));
  ManualClock clock;
  clock.set(now);
  // Stopped between the look at the clock and the write: that frame is under way; those behind it are not.
  port.set_on_send([&] { clock.advance(10s); });
  EXPECT_EQ(gate->pump(clock), 1U);
  EXPECT_THAT(gaps, ElementsAre(10s));
  EXPECT_EQ(gate->stats().depth_frames, 2U);
  port.set_on_send([] {});
  EXPECT_EQ(gate->pump(clock), 0U) << "held until the term is confirmed";
}

TEST_F(GapTest, AfterAGapNothingLeavesUntilAYoungerRoundTripConfirmsTheTerm) {
  ASSERT_TRUE(send(1));
  stand_still(10s);
  EXPECT_THAT(gaps, ElementsAre(10s));
  ASSERT_TRUE(send(2));
  EXPECT_THAT(left(), IsEmpty());
  gate->confirm_term(kTerm, now - 1ms);  // asked before the gap was seen: proves nothing
  EXPECT_THAT(left(), IsEmpty());
  gate->confirm_term(Term{3}, now);
  gate->confirm_term(Term{5}, now);
  EXPECT_THAT(left(), IsEmpty());
  EXPECT_TRUE(gate->stats().unconfirmed);
  gate->confirm_term(kTerm, now);
  EXPECT_THAT(left(), ElementsAre(1, 2));
  EXPECT_EQ(gate->stats().gaps, 1U);
}

TEST_F(GapTest, CommitsAndModesDoNotOpenAnUnconfirmedGate) {
  gate->pair(kTerm);
  ASSERT_TRUE(send(1));
  gate->close_epoch(Epoch{1});
  stand_still(10s);
  gate->commit(kTerm, Epoch{1});
  gate->hold(kTerm);
  gate->pair(kTerm);
  gate->solo(kTerm);
  EXPECT_THAT(left(), IsEmpty());
}

TEST_F(GapTest, TheTermThatIsConfirmedMayBeANewOne) {
  stand_still(10s);
  ASSERT_TRUE(send(1));
  gate->solo(Term{5});
  EXPECT_THAT(left(), IsEmpty());
  gate->confirm_term(Term{5}, now);
  EXPECT_THAT(left(), ElementsAre(1));
}

TEST_F(GapTest, AnotherLostTermDrops) {
  ASSERT_TRUE(send(1));
  stand_still(10s);
  gate->mute();
  gate->confirm_term(kTerm, now);
  gate->solo(Term{9});
  EXPECT_THAT(left(), IsEmpty());
  EXPECT_EQ(gate->stats().dropped_muted, 1U);
}

TEST_F(GapTest, ASecondGapNeedsASecondProof) {
  stand_still(1s);
  const Instant asked = now;
  stand_still(1s);
  ASSERT_TRUE(send(1));
  gate->confirm_term(kTerm, asked);
  EXPECT_THAT(left(), IsEmpty());
  gate->confirm_term(kTerm, now);
  EXPECT_THAT(left(), ElementsAre(1));
}

// ------------------------------------------------------------------------------------------------------------- receiving

TEST_F(EgressGateTest, ReceivesUnlessMuted) {
  std::vector<std::byte> buffer(NetBackend::kMaxFrameBytes);
  port.arrive(std::vector<std::byte>(60, std::byte{1}));
  EXPECT_FALSE(gate->receive(buffer));
  EXPECT_EQ(gate->stats().dropped_received, 1U);
  gate->hold(kTerm);
  const FrameOffload offload{.flags = FrameOffload::kChecksumValid};
  port.arrive(std::vector<std::byte>(61, std::byte{2}), offload);
  EXPECT_EQ(gate->receive(buffer), (ReceivedFrame{.bytes = 61, .offload = offload}));
  EXPECT_EQ(gate->receive(buffer).error(), NetBackend::NoFrame::kNoneWaits);
}

TEST_F(EgressGateTest, TellsThatThePortIsGone) {
  std::vector<std::byte> buffer(NetBackend::kMaxFrameBytes);
  gate->solo(kTerm);
  port.set_error(Error{ErrorCode::kFailed, "out of memory"});
  EXPECT_EQ(gate->receive(buffer).error(), NetBackend::NoFrame::kNoneWaits);
  port.set_error(Error{ErrorCode::kUnavailable, "tap0 was deleted"});
  EXPECT_EQ(gate->receive(buffer).error(), NetBackend::NoFrame::kGone);
}

// --------------------------------------------------------------------------------------------------------------- threads

TEST_F(EgressGateTest, AFrameAtThePortWhenMutedIsTheLast) {
  gate->solo(kTerm);
  ASSERT_TRUE(send(1));
  ASSERT_TRUE(send(2));
  port.set_on_send([this] {
    gate->mute();  // no lock is held across a send
    EXPECT_FALSE(gate->empty());
  });
  EXPECT_THAT(left(), ElementsAre(1));
  EXPECT_TRUE(gate->empty());
}

TEST_F(EgressGateTest, DroppedWhileTheBusyPortHadIt) {
  gate->solo(kTerm);
  ASSERT_TRUE(send(1));
  port.set_room(0);
  port.set_on_send([this] { gate->drop_all(); });
  EXPECT_THAT(left(), IsEmpty());
  EXPECT_TRUE(gate->empty());
}

TEST_F(EgressGateTest, WakesWhenSomethingMayLeave) {
  int wakes = 0;
  gate->on_sendable([&] { ++wakes; });
  gate->pair(kTerm);
  ASSERT_TRUE(send(1));
  gate->close_epoch(Epoch{1});
  EXPECT_EQ(wakes, 0);
  gate->commit(kTerm, Epoch{1});
  EXPECT_EQ(wakes, 1);
}

TEST_F(EgressGateTest, ThreadsKeepOrderAndLoseNothing) {
  build({.ring_bytes = 2 * NetBackend::kMaxFrameBytes, .ring_frames = 16});
  gate->pair(kTerm);
  constexpr std::uint32_t kFrames = 20'000;
  std::atomic<bool> done{false};
  std::jthread device{[&] {
    for (std::uint32_t i = 0; i < kFrames;) {
      std::vector<std::byte> frame(64);
      std::memcpy(frame.data(), &i, sizeof i);
      const ConstBytes piece{frame};
      if (gate->transmit({}, std::span{&piece, 1}))
        ++i;
      else
        std::this_thread::yield();
    }
    done = true;
  }};
  std::jthread session{[&] {
    std::uint64_t epoch = 1;
    while (!done || !gate->empty()) {
      gate->close_epoch(Epoch{epoch});
      gate->commit(kTerm, Epoch{epoch++});
      std::this_thread::yield();
    }
  }};
  while (!done || !gate->empty()) {
    if (pump(*gate, now) == 0) std::this_thread::yield();
  }
  ASSERT_EQ(port.sent().size(), kFrames);
  for (std::uint32_t i = 0; i < kFrames; ++i) {
    std::uint32_t value = 0;
    std::memcpy(&value, port.sent()[i].data(), sizeof value);
    ASSERT_EQ(value, i);
  }
}

TEST_F(EgressGateTest, RefusesARingTooSmallForAFrame) {
  const auto small = EgressGate::create(port, {.ring_bytes = 1000});
  ASSERT_FALSE(small);
  EXPECT_EQ(small.error().code(), ErrorCode::kInvalid);
}

}  // namespace
}  // namespace understudy
