// What the sessions make of a bad network and of bad peers: damage, loss, repetition, reordering, strangers, breaks.
#include <gmock/gmock.h>

#include "session_fixture.h"

namespace understudy {
namespace {

using ::testing::HasSubstr;

class SessionFaultsTest : public SessionTest {
 protected:
  // Changes one bulk byte of the next message of `message_kind` that has one.
  void flip_next(MessageKind message_kind) {
    links->a.set_tamper([this, message_kind](Message& message) {
      const auto decoded = decode(message, kPair);
      if (decoded && decoded->envelope.kind == message_kind && message.size() > 1) {
        std::vector<std::byte> bytes{message[1].bytes().begin(), message[1].bytes().end()};
        bytes[bytes.size() / 2] ^= std::byte{4};
        message[1] = Frame::copy_of(bytes);
        links->a.set_tamper({});
      }
      return true;
    });
  }
  // Loses the next message of `message_kind`.
  void lose_next(MessageKind message_kind) {
    links->a.set_tamper([this, message_kind](Message& message) {
      const auto decoded = decode(message, kPair);
      if (!decoded || decoded->envelope.kind != message_kind) return true;
      links->a.set_tamper({});
      return false;
    });
  }
  void dirty_something() {
    for (std::size_t page = 0; page < 300; page += 2) machine_a->guest_write_u64(page * kPageSizeBytes + 32, ++written_);
    disk_a->guest_write(1024, bytes_of(512, static_cast<std::uint8_t>(written_)));
  }
  // The session broke, the image is still an old whole epoch, and a new session catches up.
  void expect_thrown_away_and_caught_up() {
    const CommittedEpoch held = secondary->committed();
    const std::vector<std::byte> memory{machine_b->memory().begin(), machine_b->memory().end()};
    run(60ms);
    ASSERT_EQ(primary_log.broken.size(), 1U);
    EXPECT_THAT(primary_log.broken[0], HasSubstr("rejected epoch"));
    EXPECT_EQ(secondary->committed(), held);
    EXPECT_TRUE(std::ranges::equal(machine_b->memory(), memory));
    EXPECT_TRUE(secondary->image_whole());
    start(Session{2});
    run(60ms);
    EXPECT_EQ(primary->stats().full_transfers, 1U);
    EXPECT_EQ(primary->stats().catch_ups, 1U);
    EXPECT_TRUE(images_equal());
  }
  Message last_of(MessageKind message_kind) {
    Message found;
    links->a.set_tamper([this, message_kind, &found](Message& message) {
      const auto decoded = decode(message, kPair);
      if (decoded && decoded->envelope.kind == message_kind) found = message;
      return true;
    });
    dirty_something();
    run(60ms);
    links->a.set_tamper({});
    return found;
  }
  void to_secondary(const Message& message) {
    const auto decoded = decode(message, kPair);
    ASSERT_TRUE(decoded);
    secondary->receive(*decoded, clock.now());
  }
  // From the secondary to the primary, made up.
  void to_primary(Envelope envelope, std::span<const std::byte> payload) {
    const auto decoded = decode(encode(envelope, payload), kPair);
    ASSERT_TRUE(decoded);
    primary->receive(*decoded, clock.now());
  }
  Envelope from_secondary(MessageKind message_kind) const {
    return {.kind = message_kind,
            .pair = kPair,
            .sender = NodeId::kB,
            .incarnation = kSecondaryIncarnation,
            .term = kTerm,
            .session = Session{1},
            .epoch = Epoch{0}};
  }

  std::uint64_t written_ = 0;
};

TEST_F(SessionFaultsTest, FlippedBitInAPage) {
  protect();
  run(30ms);
  dirty_something();
  flip_next(kind::kPages);
  expect_thrown_away_and_caught_up();
}

TEST_F(SessionFaultsTest, FlippedBitInADiskWrite) {
  protect();
  run(30ms);
  dirty_something();
  flip_next(kind::kDiskWrites);
  expect_thrown_away_and_caught_up();
}

TEST_F(SessionFaultsTest, FlippedBitInTheMachineState) {
  protect();
  run(30ms);
  dirty_something();
  flip_next(kind::kManifest);
  expect_thrown_away_and_caught_up();
}

TEST_F(SessionFaultsTest, ASessionThatIsOverDoesNotBeginAgain) {
  std::vector<Message> opening;
  links->a.set_tamper([&opening](Message& message) {
    const auto decoded = decode(message, kPair);
    if (decoded && (decoded->envelope.kind == kind::kHello || decoded->envelope.kind == kind::kBegin)) opening.push_back(message);
    return true;
  });
  protect();
  ASSERT_EQ(opening.size(), 2U);
  flip_next(kind::kManifest);
  run(60ms);
  ASSERT_EQ(primary_log.broken.size(), 1U);
  for (const Message& message : opening) to_secondary(message);
  EXPECT_TRUE(secondary->image_whole()) << "a repeated opening would begin a full transfer";
  EXPECT_EQ(secondary_log.overwritten, 1U);
  EXPECT_EQ(secondary->stats().refusals, 1U);
}

TEST_F(SessionFaultsTest, LostPart) {
  protect();
  run(30ms);
  dirty_something();
  lose_next(kind::kPages);
  expect_thrown_away_and_caught_up();
}

TEST_F(SessionFaultsTest, LostManifest) {
  protect();
  run(30ms);
  dirty_something();
  lose_next(kind::kManifest);
  expect_thrown_away_and_caught_up();
}

TEST_F(SessionFaultsTest, TruncatedMessage) {
  protect();
  run(30ms);
  dirty_something();
  links->a.set_tamper([this](Message& message) {
    const auto decoded = decode(message, kPair);
    if (decoded && decoded->envelope.kind == kind::kPages && message.size() > 1) {
      message[1] = Frame{message[1].bytes().first(100), message[1].owner()};
      links->a.set_tamper({});
    }
    return true;
  });
  expect_thrown_away_and_caught_up();
}

TEST_F(SessionFaultsTest, RepeatedPart) {
  protect();
  run(30ms);
  dirty_something();
  links_move = false;
  run(26ms);
  auto& queue = links->a.queue();
  ASSERT_GE(queue.size(), 2U);
  queue.push_front(queue.front());
  links_move = true;
  expect_thrown_away_and_caught_up();
}

TEST_F(SessionFaultsTest, ReorderedParts) {
  protect();
  run(30ms);
  dirty_something();
  links_move = false;
  run(26ms);
  auto& queue = links->a.queue();
  ASSERT_GE(queue.size(), 2U);
  std::swap(queue[0], queue[1]);
  links_move = true;
  expect_thrown_away_and_caught_up();
}

TEST_F(SessionFaultsTest, StateThatTheMachineRefuses) {
  protect();
  run(30ms);
  machine_b->refuse_states("vCPU 0 has an XSAVE area of another size");
  run(30ms);
  ASSERT_EQ(primary_log.broken.size(), 1U);
  EXPECT_THAT(primary_log.broken[0], HasSubstr("XSAVE area"));
}

TEST_F(SessionFaultsTest, MessagesOfAnotherPairNeverReachASession) {
  protect();
  const Message message = last_of(kind::kManifest);
  const auto foreign = decode(message, PairId{78});
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code(), ErrorCode::kRefused);
}

TEST_F(SessionFaultsTest, MessagesOfAnOldSessionAreDroppedAndCounted) {
  protect();
  const Message old = last_of(kind::kManifest);
  start(Session{2});
  run(60ms);
  const CommittedEpoch held = secondary->committed();
  const std::uint64_t foreign = secondary->stats().foreign_messages;
  to_secondary(old);
  EXPECT_EQ(secondary->stats().foreign_messages, foreign + 1);
  EXPECT_EQ(secondary->committed(), held);
  EXPECT_TRUE(secondary->is_up());
}

TEST_F(SessionFaultsTest, StrangersInTheSessionAreDroppedAndCounted) {
  protect();
  Message message = last_of(kind::kManifest);
  auto decoded = decode(message, kPair);
  ASSERT_TRUE(decoded);
  const std::uint64_t foreign = secondary->stats().foreign_messages;
  auto lower = *decoded;
  lower.envelope.term = Term{4};
  secondary->receive(lower, clock.now());
  // A lower term than the floor ends a session; this one came from nobody in it.
  auto stranger = *decoded;
  stranger.envelope.incarnation = Incarnation{9};
  secondary->receive(stranger, clock.now());
  auto own = *decoded;
  own.envelope.sender = NodeId::kB;
  secondary->receive(own, clock.now());
  EXPECT_EQ(secondary->stats().foreign_messages, foreign + 3);
  EXPECT_TRUE(secondary->is_up());
}

TEST_F(SessionFaultsTest, ForeignAcksOpenNothing) {
  protect();
  run(30ms);
  links_move = false;
  ASSERT_TRUE(send_frame(1));
  const Epoch epoch = gate->open_epoch();
  run(60ms);
  const auto ack = to_bytes(Ack{kTerm});
  Envelope envelope = from_secondary(kind::kAck);
  envelope.epoch = epoch;
  for (const auto& change : std::vector<std::function<void(Envelope&)>>{
           [](Envelope& e) { e.term = Term{4}; }, [](Envelope& e) { e.term = Term{6}; }, [](Envelope& e) { e.session = Session{9}; },
           [](Envelope& e) { e.incarnation = Incarnation{9}; }, [](Envelope& e) { e.sender = NodeId::kA; }}) {
    Envelope wrong = envelope;
    change(wrong);
    to_primary(wrong, ack);
    gate->pump(clock);
  }
  EXPECT_TRUE(port.sent().empty());
  EXPECT_EQ(primary->stale_acks() + primary->stats().foreign_messages, 5U);
  to_primary(envelope, ack);
  gate->pump(clock);
  EXPECT_EQ(port.sent().size(), 1U);
}

TEST_F(SessionFaultsTest, AckOfAnEpochNeverSentBreaksTheSession) {
  protect();
  Envelope envelope = from_secondary(kind::kAck);
  envelope.epoch = Epoch{1'000'000};
  to_primary(envelope, to_bytes(Ack{kTerm}));
  ASSERT_EQ(primary_log.broken.size(), 1U);
  EXPECT_THAT(primary_log.broken[0], HasSubstr("not sent"));
}

TEST_F(SessionFaultsTest, GarbageFromThePeerBreaksTheSessionWithAReason) {
  protect();
  const auto garbage = bytes_of(24, 0xff);
  for (const MessageKind each : {kind::kRefuse, kind::kAck, kind::kProgress, kind::kReject}) {
    if (!primary->is_up()) {
      start(Session{100U + each});
      run(100ms);
    }
    Envelope envelope = from_secondary(each);
    envelope.session = primary_log.ups.back().session;
    to_primary(envelope, garbage);
    EXPECT_FALSE(primary->is_up()) << each;
  }
  EXPECT_EQ(primary_log.broken.size(), 4U);
  EXPECT_TRUE(machine_a->running());
}

// --------------------------------------------------------------------------------------------------------- handshake

struct RefusalCase {
  std::string name;
  std::function<void(Hello&, Envelope&)> change;
  std::string reason;
};
class SessionRefusalTest : public SessionFaultsTest, public ::testing::WithParamInterface<RefusalCase> {};

TEST_P(SessionRefusalTest, NamesTheReason) {
  secondary->accept(kTerm);
  primary->start({Session{1}, kTerm, kSecondaryIncarnation}, clock.now());
  ASSERT_EQ(links->a.queue().size(), 1U);
  auto decoded = decode(links->a.queue().front(), kPair);
  ASSERT_TRUE(decoded);
  auto hello = from_bytes<Hello>(decoded->payload.bytes());
  ASSERT_TRUE(hello);
  GetParam().change(*hello, decoded->envelope);
  links->a.queue().front() = encode(decoded->envelope, to_bytes(*hello));
  links->deliver();
  ASSERT_EQ(primary_log.refused.size(), 1U);
  EXPECT_THAT(primary_log.refused[0], HasSubstr(GetParam().reason));
  EXPECT_EQ(primary_log.promises[0], Term{});
  EXPECT_FALSE(secondary->is_up());
}

INSTANTIATE_TEST_SUITE_P(
    Handshake, SessionRefusalTest,
    ::testing::Values(RefusalCase{"Version", [](Hello& hello, Envelope&) { hello.protocol_version = 1; }, "protocol version 1"},
                      RefusalCase{"Incarnation", [](Hello& hello, Envelope&) { hello.expected_peer = Incarnation{3}; },
                                  "incarnation 3 was expected, this is 2002"},
                      RefusalCase{"Disks",
                                  [](Hello& hello, Envelope&) {
                                    hello.disks = {{512, true}};
                                  },
                                  "disks differ: the primary has 512 bytes read-only, the secondary 1048576 bytes"},
                      RefusalCase{"Machine", [](Hello& hello, Envelope&) { hello.fingerprint.vcpu_count = 4; }, "4 vCPUs against 1"}),
    [](const auto& tested) { return tested.param.name; });

TEST_F(SessionFaultsTest, ATermBelowThePromiseIsRefusedWithThePromise) {
  secondary->accept(Term{9});
  primary->start({Session{1}, kTerm, kSecondaryIncarnation}, clock.now());
  links->deliver();
  ASSERT_EQ(primary_log.refused.size(), 1U);
  EXPECT_THAT(primary_log.refused[0], HasSubstr("term 5 is below the promised 9"));
  EXPECT_EQ(primary_log.promises[0], Term{9});
}

TEST_F(SessionFaultsTest, NoSecondaryRefuses) {
  primary->start({Session{1}, kTerm, kSecondaryIncarnation}, clock.now());
  links->deliver();
  ASSERT_EQ(primary_log.refused.size(), 1U);
  EXPECT_THAT(primary_log.refused[0], HasSubstr("no secondary"));
}

TEST_F(SessionFaultsTest, ARunningSessionEndsWhenThisIsNoSecondaryAnyMore) {
  protect();
  const CommittedEpoch held = secondary->committed();
  secondary->refuse("this node takes over");
  dirty_something();
  run(60ms);
  EXPECT_EQ(secondary->committed(), held);
  EXPECT_GT(secondary->stats().foreign_messages, 0U);
}

TEST_F(SessionFaultsTest, HelloIsRepeatedUntilAnswered) {
  lose_next(kind::kHello);
  start();
  run(config.hello_every - 2ms);
  EXPECT_FALSE(primary->is_up());
  run(200ms);
  EXPECT_TRUE(primary->is_protecting());
  EXPECT_EQ(primary_log.ups.size(), 1U);
}

// ------------------------------------------------------------------------------------------------- breaks and return

TEST_F(SessionFaultsTest, LostAcksAreMadeGoodByTheWelcome) {
  protect();
  run(30ms);
  links->b.set_cut(true);  // epochs arrive, acks do not
  dirty_something();
  ASSERT_TRUE(send_frame(1));
  run(config.window.ack_timeout + 100ms);
  ASSERT_EQ(primary_log.broken.size(), 1U);
  EXPECT_TRUE(port.sent().empty());
  links->b.set_cut(false);
  start(Session{2});
  run(5ms);
  EXPECT_EQ(port.sent().size(), 1U);  // the peer held it all along
  run(60ms);
  EXPECT_TRUE(images_equal());
  EXPECT_EQ(disk_a->unacked(), 0U);
}

TEST_F(SessionFaultsTest, UnackedDiskWritesAreSentAgainBeforeNewerOnes) {
  protect();
  links->a.set_cut(true);
  disk_a->guest_write(0, bytes_of(512, 1));
  run(30ms);
  disk_a->guest_write(0, bytes_of(1024, 2));
  disk_a->guest_write(2048, bytes_of(512, 3));
  run(config.window.ack_timeout + 10ms);
  ASSERT_EQ(primary_log.broken.size(), 1U);
  links->a.set_cut(false);
  disk_a->guest_write(512, bytes_of(512, 4));
  start(Session{2});
  run(60ms);
  EXPECT_EQ(primary->stats().catch_ups, 1U);
  EXPECT_TRUE(images_equal());
}

TEST_F(SessionFaultsTest, AnotherIncarnationGetsEverything) {
  protect();
  links->cut(true);
  run(config.window.ack_timeout + 10ms);
  links->cut(false);
  secondary_config.incarnation = Incarnation{2003};
  machine_b = std::make_unique<fake::FakeMachine>(kPages);
  machine_b->make_warm();
  secondary =
      std::make_unique<SecondarySession>(secondary_config, *machine_b, links->b, std::vector<DiskSink*>{disk_b.get()}, secondary_log);
  secondary->accept(kTerm);
  primary->start({Session{2}, kTerm, Incarnation{2003}}, clock.now());
  run(100ms);
  EXPECT_EQ(primary->stats().full_transfers, 2U);
  EXPECT_TRUE(images_equal());
}

TEST_F(SessionFaultsTest, AfterABreakDuringTheFullTransferItGoesOn) {
  config.batch_pages = 16;
  build();
  for (std::size_t page = 0; page < kPages; ++page) machine_a->guest_write_u64(page * kPageSizeBytes, page);
  lose_next(kind::kPages);
  start();
  run(50ms);
  ASSERT_EQ(primary_log.broken.size(), 1U);
  EXPECT_FALSE(secondary->image_whole());
  start(Session{2});
  run(100ms);
  EXPECT_EQ(primary->stats().full_transfers, 1U);
  EXPECT_EQ(primary->stats().resyncs, 1U);
  EXPECT_TRUE(images_equal());
}

TEST_F(SessionFaultsTest, AStalledTransferBreaks) {
  config.transfer_window_bytes = 64 << 10;
  config.batch_pages = 16;
  staging_pages = 16;
  build();
  for (std::size_t page = 0; page < kPages; ++page) machine_a->guest_write_u64(page * kPageSizeBytes, page + 1);
  start();
  links->deliver(2);  // hello and welcome
  links->cut(true);
  run(config.window.ack_timeout + 100ms);
  ASSERT_EQ(primary_log.broken.size(), 1U);
  EXPECT_THAT(primary_log.broken[0], HasSubstr("no progress"));
  EXPECT_TRUE(machine_a->running());
}

TEST_F(SessionFaultsTest, StopInTheMiddleOfEverythingLeavesTheGuestRunning) {
  for (const auto when : {0ms, 1ms, 3ms, 10ms, 40ms}) {
    start(Session{static_cast<std::uint64_t>(when.count()) + 10});
    run(when);
    primary->stop(clock.now());
    EXPECT_TRUE(machine_a->running());
    EXPECT_FALSE(primary->is_up());
  }
  primary->forget();
  EXPECT_FALSE(machine_a->tracking());
  EXPECT_FALSE(disk_a->streaming());
  EXPECT_TRUE(primary_log.broken.empty());
}

}  // namespace
}  // namespace understudy
