#include "failover/heartbeat_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "failover/failover.capnp.h"
#include "net/payload.h"

namespace understudy {
namespace {

using testing::HasSubstr;

constexpr PairId kPair{5};

Heartbeat full() {
  Heartbeat out;
  out.sender = {NodeId::kB, Incarnation{11}};
  out.sequence = 12;
  out.echo_incarnation = Incarnation{13};
  out.echo_sequence = 14;
  out.role = Role::kSolo;
  out.term = Term{15};
  out.promise = Term{16};
  out.has_history = true;
  out.image_whole = true;
  out.committed = {Term{14}, Epoch{17}};
  out.eligible_peer = Incarnation{18};
  out.guest_stopped = true;
  out.guest = "the guest powered off";
  out.handover = HandoverOffer{Term{15}, {Term{15}, Epoch{19}}};
  out.refusal = "no";
  out.evidence = {{ProbePath::kServiceNic, Health::kFailed, std::chrono::milliseconds{20}, "eth1: no carrier"},
                  {ProbePath::kStorage, Health::kHealthy, std::chrono::milliseconds{21}, ""},
                  {ProbePath::kKernel, Health::kDegraded, std::chrono::milliseconds{22}, "Oops", true, true}};
  out.just_moved = true;
  out.hold = {.revision = 22, .held = true, .since_ns = 23, .until_ns = 24, .by = "alice", .reason = "new kernel"};
  out.hold_ends_in = std::chrono::milliseconds{25};
  out.wants_no_peer = true;
  return out;
}

Result<Heartbeat> round_trip(const Heartbeat& heartbeat) {
  auto decoded = decode(encode_heartbeat(kPair, heartbeat), kPair);
  if (!decoded) return std::move(decoded.error());
  return decode_heartbeat(*decoded);
}

TEST(HeartbeatCodec, CarriesEveryField) {
  const Heartbeat in = full();
  const auto out = round_trip(in);
  ASSERT_TRUE(out.has_value()) << out.error().text();
  EXPECT_EQ(out->sender, in.sender);
  EXPECT_EQ(out->sequence, in.sequence);
  EXPECT_EQ(out->echo_incarnation, in.echo_incarnation);
  EXPECT_EQ(out->echo_sequence, in.echo_sequence);
  EXPECT_EQ(out->role, in.role);
  EXPECT_EQ(out->term, in.term);
  EXPECT_EQ(out->promise, in.promise);
  EXPECT_EQ(out->has_history, in.has_history);
  EXPECT_EQ(out->image_whole, in.image_whole);
  EXPECT_EQ(out->committed, in.committed);
  EXPECT_EQ(out->eligible_peer, in.eligible_peer);
  EXPECT_EQ(out->guest_stopped, in.guest_stopped);
  EXPECT_EQ(out->guest, in.guest);
  EXPECT_EQ(out->handover, in.handover);
  EXPECT_EQ(out->refusal, in.refusal);
  EXPECT_TRUE(out->just_moved);
  ASSERT_EQ(out->evidence.size(), 3U);
  EXPECT_EQ(out->evidence[2].path, ProbePath::kKernel);
  EXPECT_TRUE(out->evidence[2].suspected && out->evidence[2].beyond);
  EXPECT_FALSE(out->evidence[1].suspected || out->evidence[1].beyond);
  EXPECT_EQ(out->evidence[0].path, ProbePath::kServiceNic);
  EXPECT_EQ(out->evidence[0].health, Health::kFailed);
  EXPECT_EQ(out->evidence[0].age, std::chrono::milliseconds{20});
  EXPECT_EQ(out->evidence[0].text, "eth1: no carrier");
  EXPECT_EQ(out->hold, in.hold);
  EXPECT_EQ(out->hold_ends_in, in.hold_ends_in);
  EXPECT_TRUE(out->wants_no_peer);
}

TEST(HeartbeatCodec, AbsentHandoverStaysAbsent) {
  Heartbeat in = full();
  in.handover.reset();
  in.hold = {};
  in.hold_ends_in.reset();
  const auto out = round_trip(in);
  ASSERT_TRUE(out.has_value());
  EXPECT_FALSE(out->handover.has_value());
  EXPECT_EQ(out->hold, Hold{});
  EXPECT_FALSE(out->hold_ends_in.has_value());
}

TEST(HeartbeatCodec, TextsAreCutAndHarmless) {
  Heartbeat in = full();
  in.refusal = std::string(5000, 'x');
  in.evidence[0].text = "line\nbreak\x1b[31m";
  const auto out = round_trip(in);
  ASSERT_TRUE(out.has_value());
  EXPECT_EQ(out->refusal.size(), 200U);
  EXPECT_EQ(out->evidence[0].text, "line?break?[31m");
}

// A message as a hostile or broken peer could build it.
Result<Heartbeat> crafted(const std::function<void(schema::Heartbeat::Builder)>& fill, Incarnation incarnation = Incarnation{11},
                          MessageKind kind = kHeartbeatKind) {
  const auto payload = build_payload<schema::Heartbeat>(fill);
  const Envelope envelope{
      .kind = kind, .pair = kPair, .sender = NodeId::kB, .incarnation = incarnation, .term = Term{1}, .session = {}, .epoch = {}};
  auto decoded = decode(encode(envelope, payload), kPair);
  if (!decoded) return std::move(decoded.error());
  return decode_heartbeat(*decoded);
}

TEST(HeartbeatCodec, RefusesWhatCannotBe) {
  const auto evidence = [](std::uint8_t path, std::uint8_t health, std::int64_t age, unsigned count = 1) {
    return [=](schema::Heartbeat::Builder out) {
      auto list = out.initEvidence(count);
      for (auto one : list) {
        one.setPath(path);
        one.setHealth(health);
        one.setAgeNs(age);
      }
    };
  };
  const struct {
    const char* says;
    Result<Heartbeat> result;
  } cases[] = {
      {"role 5", crafted([](schema::Heartbeat::Builder out) { out.setRole(5); })},
      {"health 4", crafted(evidence(0, 4, 1))},
      {"age of -1", crafted(evidence(0, 1, -1))},
      {"two pieces of evidence", crafted(evidence(1, 1, 1, 2))},
      {"a suspicion of a path that is not degraded", crafted([](schema::Heartbeat::Builder out) {
         auto list = out.initEvidence(1);
         list[0].setHealth(1);
         list[0].setSuspected(true);
       })},
      {"65 pieces", crafted(evidence(200, 1, 1, 65))},
      {"revision 18446744073709551615", crafted([](schema::Heartbeat::Builder out) { out.initHold().setRevision(~std::uint64_t{0}); })},
      {"a hold that ends in", crafted([](schema::Heartbeat::Builder out) { out.setHoldEndsInNs(std::int64_t{1} << 62); })},
      {"no incarnation", crafted([](schema::Heartbeat::Builder) {}, Incarnation{})},
      {"message kind 33", crafted([](schema::Heartbeat::Builder) {}, Incarnation{11}, 33)},
  };
  for (const auto& one : cases) {
    ASSERT_FALSE(one.result.has_value()) << one.says;
    EXPECT_EQ(one.result.error().code(), ErrorCode::kCorrupt) << one.says;
    EXPECT_THAT(one.result.error().text(), HasSubstr(one.says));
  }
}

TEST(HeartbeatCodec, LaterVersionsMayProbeMore) {
  const auto out = crafted([](schema::Heartbeat::Builder builder) { builder.initEvidence(1)[0].setPath(77); });
  ASSERT_TRUE(out.has_value()) << out.error().text();
  EXPECT_TRUE(out->evidence.empty());
}

TEST(HeartbeatCodec, EveryTruncationAndBitFlipIsAnErrorOrAHeartbeat) {
  const Message message = encode_heartbeat(kPair, full());
  const auto bytes = message.at(0).bytes();
  int refused = 0;
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const auto decoded = decode({Frame::copy_of(bytes.first(length))}, kPair);
    if (!decoded || !decode_heartbeat(*decoded)) ++refused;
  }
  EXPECT_EQ(refused, static_cast<int>(bytes.size())) << "a cut message passed";
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::vector<std::byte> damaged{bytes.begin(), bytes.end()};
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    if (const auto decoded = decode({Frame::copy_of(damaged)}, kPair)) static_cast<void>(decode_heartbeat(*decoded));
  }
}

}  // namespace
}  // namespace understudy
