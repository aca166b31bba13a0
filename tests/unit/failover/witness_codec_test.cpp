#include "failover/witness_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "failover/witness.capnp.h"
#include "net/payload.h"

namespace understudy {
namespace {

using testing::HasSubstr;

constexpr NodeIncarnation kA{NodeId::kA, Incarnation{0x1111}};
constexpr NodeIncarnation kB{NodeId::kB, Incarnation{0x2222}};
const ArbiterRecord kRecord{.term = Term{9}, .mode = PairMode::kPair, .holder = kB, .eligible = {kA, kB}, .request = RequestId{0xabcdef}};
const Proposal kProposal{
    .kind = ProposalKind::kSwitchover, .request = RequestId{5}, .expected_term = Term{8}, .at_least = Term{9}, .proposer = kB, .peer = kA};

TEST(WitnessCodec, RequestsRoundTrip) {
  auto without_peer = kProposal;
  without_peer.peer.reset();
  const decltype(WitnessRequest::what) all[] = {WitnessRead{}, kProposal, without_peer, WitnessSeed{Term{7}, kA}};
  for (const auto& what : all) {
    const auto decoded = decode_witness_request(encode_witness_request({.call = 42, .what = what}));
    ASSERT_TRUE(decoded) << decoded.error().text();
    EXPECT_EQ(decoded->call, 42U);
    EXPECT_EQ(decoded->what, what);
  }
}

TEST(WitnessCodec, RepliesRoundTrip) {
  const ArbiterAnswer answers[] = {
      {.granted = true, .record = kRecord, .store = StoreId{3}, .reason = {}},
      {.granted = false, .record = kRecord, .store = StoreId{3}, .reason = "node a is not eligible"},
      {.granted = false, .record = {}, .store = StoreId{3}, .reason = "no record"},
  };
  for (const auto& answer : answers) {
    const auto decoded = decode_witness_reply(encode_witness_reply({.call = 1, .answer = answer}));
    ASSERT_TRUE(decoded && decoded->answer);
    EXPECT_EQ(decoded->answer->granted, answer.granted);
    EXPECT_EQ(decoded->answer->record, answer.record);
    EXPECT_EQ(decoded->answer->store, answer.store);
    EXPECT_EQ(decoded->answer->reason, answer.reason);
  }
  const auto failed = decode_witness_reply(encode_witness_reply({.call = 2, .answer = Error{ErrorCode::kCorrupt, "disk on fire"}}));
  ASSERT_TRUE(failed);
  ASSERT_FALSE(failed->answer);
  EXPECT_EQ(failed->answer.error().text(), "disk on fire");
}

TEST(WitnessCodec, StoredRecordsRoundTrip) {
  for (const auto& pair : {WitnessPair{}, WitnessPair{.record = kRecord, .made_by = kProposal, .forgotten = Term{4}},
                           WitnessPair{.record = kRecord, .made_by = {}, .forgotten = {}}}) {
    const auto decoded = decode_witness_pair(encode_witness_pair(pair));
    ASSERT_TRUE(decoded);
    EXPECT_EQ(*decoded, pair);
  }
  const auto identity = decode_witness_identity(encode_witness_identity({.store = StoreId{6}, .amnesiac = true}));
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->store, StoreId{6});
  EXPECT_TRUE(identity->amnesiac);
}

template <class Fill>
std::string reply_error(Fill fill) {
  const auto decoded = decode_witness_reply(build_payload<schema::WitnessAnswer>(fill));
  EXPECT_FALSE(decoded);
  if (decoded) return "accepted";
  EXPECT_EQ(decoded.error().code(), ErrorCode::kCorrupt);
  return decoded.error().text();
}
// A solo record of node a in term 3; a test spoils it.
void fill_record(schema::WitnessRecord::Builder out) {
  out.setTerm(3);
  out.setMode(1);
  out.initHolder().setIncarnation(1);
  out.initEligible(1)[0].setIncarnation(1);
}

TEST(WitnessCodec, WhatCannotBeIsRefused) {
  EXPECT_THAT(reply_error([](auto out) { out.setGranted(true); }), HasSubstr("a grant without its record"));
  EXPECT_THAT(reply_error([](auto out) {
                fill_record(out.initRecord());
                out.getRecord().setMode(2);
              }),
              HasSubstr("mode 2"));
  EXPECT_THAT(reply_error([](auto out) {
                fill_record(out.initRecord());
                out.getRecord().getHolder().setNode(7);
              }),
              HasSubstr("node 7"));
  EXPECT_THAT(reply_error([](auto out) {
                fill_record(out.initRecord());
                out.getRecord().initEligible(3);
              }),
              HasSubstr("3 eligible nodes"));
  EXPECT_THAT(reply_error([](auto out) {
                fill_record(out.initRecord());
                out.getRecord().setMode(0);  // pair mode with one eligible
              }),
              HasSubstr("contradicts itself"));
  EXPECT_THAT(reply_error([](auto out) {
                fill_record(out.initRecord());
                out.getRecord().getHolder().setNode(1);  // a holder that is not eligible
              }),
              HasSubstr("contradicts itself"));
  const auto unknown = decode_witness_request(build_payload<schema::WitnessRequest>([](auto out) { out.initPropose().setKind(6); }));
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().text(), HasSubstr("proposal of kind 6"));
  EXPECT_FALSE(decode_witness_request({}));
}

TEST(WitnessCodec, AReasonIsPrintableAndBounded) {
  const auto decoded =
      decode_witness_reply(build_payload<schema::WitnessAnswer>([](auto out) { out.setReason("a\x1b[31m\nb" + std::string(9999, 'x')); }));
  ASSERT_TRUE(decoded && decoded->answer);
  EXPECT_THAT(decoded->answer->reason, testing::StartsWith("a [31m b"));
  EXPECT_LE(decoded->answer->reason.size(), 512U);
}

}  // namespace
}  // namespace understudy
