#include "failover/etcd_codec.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "failover/etcd_connection.h"

namespace understudy {
namespace {

using testing::HasSubstr;

const EtcdTxn kRead{.keys = {"k", "p"}, .unchanged = {}, .put = {}};
const EtcdTxn kWrite{.keys = {"k", "p"}, .unchanged = {7, 0}, .put = EtcdPut{"p", {std::byte{'v'}}}};

TEST(EtcdCodec, ARequestIsWhatTheGatewayTakes) {
  EXPECT_EQ(encode_etcd_txn(kRead), R"({"success":[{"request_range":{"key":"aw=="}},{"request_range":{"key":"cA=="}}]})");
  EXPECT_EQ(encode_etcd_txn(kWrite), R"({"compare":[{"result":"EQUAL","target":"MOD","key":"aw==","mod_revision":"7"},)"
                                     R"({"result":"EQUAL","target":"MOD","key":"cA==","mod_revision":"0"}],)"
                                     R"("success":[{"request_put":{"key":"cA==","value":"dg=="}}],)"
                                     R"("failure":[{"request_range":{"key":"aw=="}},{"request_range":{"key":"cA=="}}]})");
}

// As etcd 3.4.23 wrote them.
TEST(EtcdCodec, AnAnswerIsUnderstood) {
  const auto read = decode_etcd_txn(
      kRead, R"({"header":{"cluster_id":"14841639068965178418","member_id":"10276657743932975437","revision":"9","raft_term":"2"},)"
             R"("succeeded":true,"responses":[{"response_range":{"header":{"revision":"9"},"kvs":[{"key":"aw==","create_revision":"7",)"
             R"("mod_revision":"8","version":"2","value":"dg=="}],"count":"1"}},{"response_range":{"header":{"revision":"9"}}}]})");
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->cluster, 14841639068965178418ULL);
  EXPECT_EQ(read->revision, 9);
  EXPECT_FALSE(read->written);
  ASSERT_EQ(read->values.size(), 2U);
  EXPECT_EQ(read->values[0], (EtcdValue{8, {std::byte{'v'}}}));
  EXPECT_EQ(read->values[1], EtcdValue{});
  const auto written = decode_etcd_txn(
      kWrite,
      R"({"header":{"cluster_id":"5","revision":"9"},"succeeded":true,"responses":[{"response_put":{"header":{"revision":"10"}}}]})");
  ASSERT_TRUE(written) << written.error().text();
  EXPECT_TRUE(written->written);
  const auto lost =
      decode_etcd_txn(kWrite, R"({"header":{"cluster_id":"5","revision":"9"},"responses":[{"response_range":{}},{"response_range":{}}]})");
  ASSERT_TRUE(lost) << lost.error().text();
  EXPECT_FALSE(lost->written);
  EXPECT_EQ(lost->values.size(), 2U);
}

TEST(EtcdCodec, AnswersThatCannotBe) {
  const std::string head = R"({"header":{"cluster_id":"5","revision":"9"},"succeeded":true,"responses":)";
  const std::string none = R"({"response_range":{}})";
  const auto with_kv = [&](const std::string& kv) { return head + R"([{"response_range":{"kvs":[)" + kv + "]}}," + none + "]}"; };
  const struct {
    const char* name;
    std::string json;
    const char* error;
  } cases[] = {
      {"nothing", "", "is not the JSON"},
      {"no JSON", "<html>gateway</html>", "is not the JSON"},
      {"half of it", head, "is not the JSON"},
      {"something behind it", head + "[]} x", "is not the JSON"},
      {"another type", "[1,2]", "is not the JSON"},
      {"a list where an object belongs", R"({"header":[]})", "is not the JSON"},
      {"a word where a number belongs", R"({"header":{"cluster_id":"five"}})", "is not the JSON"},
      {"a number beyond 64 bits", R"({"header":{"cluster_id":"99999999999999999999999"}})", "is not the JSON"},
      {"a negative cluster", R"({"header":{"cluster_id":"-5"}})", "is not the JSON"},
      {"nested beyond reason", std::string(2000, '['), "is not the JSON"},
      {"empty", "{}", "names no cluster"},
      {"no header", R"({"succeeded":true,"responses":[]})", "names no cluster"},
      {"no revision of all", R"({"header":{"cluster_id":"5"},"succeeded":true})", "has no revision"},
      {"a read that failed", R"({"header":{"cluster_id":"5","revision":"9"}})", "without a condition did not succeed"},
      {"no responses", R"({"header":{"cluster_id":"5","revision":"9"},"succeeded":true})", "has 0 parts where 2 were asked for"},
      {"too few", head + "[" + none + "]}", "has 1 parts"},
      {"too many", head + "[" + none + "," + none + "," + none + "]}", "has 3 parts"},
      {"of another kind", head + R"([{"response_put":{}},)" + none + "]}", "lacks what was read"},
      {"two values", with_kv(R"({"key":"aw==","mod_revision":"1"},{"key":"aw==","mod_revision":"1"})"), "has 2 values of one key"},
      {"another key", with_kv(R"({"key":"cA==","mod_revision":"1"})"), "is about another key"},
      {"no key", with_kv(R"({"mod_revision":"1"})"), "is about another key"},
      {"a key that is not base64", with_kv(R"({"key":"a!","mod_revision":"1"})"), "a key is not base64"},
      {"a value that is not base64", with_kv(R"({"key":"aw==","mod_revision":"1","value":"v???"})"), "a value is not base64"},
      {"a value that is a number", with_kv(R"({"key":"aw==","mod_revision":"1","value":7})"), "is not the JSON"},
      {"no revision", with_kv(R"({"key":"aw=="})"), "without the revision"},
      {"a negative revision", with_kv(R"({"key":"aw==","mod_revision":"-3"})"), "without the revision"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto answer = decode_etcd_txn(kRead, c.json);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code(), ErrorCode::kCorrupt);
    EXPECT_THAT(answer.error().text(), HasSubstr(c.error));
    EXPECT_EQ(answer.error().text().find('\n'), std::string::npos) << answer.error().text();
  }
}

TEST(EtcdCodec, AFaultIsOnePrintableLine) {
  EXPECT_EQ(decode_etcd_fault(R"({"error":"x","message":"etcdserver: no leader","code":14})"), "etcdserver: no leader");
  EXPECT_EQ(decode_etcd_fault("<html>"), "");
  EXPECT_EQ(decode_etcd_fault("{}"), "");
  EXPECT_EQ(decode_etcd_fault("{\"message\":\"a\\u001b[2J\\nb\"}"), "a [2J b");
  EXPECT_EQ(decode_etcd_fault("{\"message\":\"" + std::string(5000, 'x') + "\"}").size(), 256U);
}

TEST(EtcdCodec, StoredValuesComeBackAndBelongToTheirKey) {
  const EtcdPair pair{.store = StoreId{5},
                      .pair = {.record = ArbiterRecord{.term = Term{3},
                                                       .mode = PairMode::kSolo,
                                                       .holder = {NodeId::kA, Incarnation{1}},
                                                       .eligible = {{NodeId::kA, Incarnation{1}}},
                                                       .request = RequestId{4}},
                               .made_by = {},
                               .forgotten = Term{2}}};
  auto bytes = encode_etcd_pair("key", pair);
  EXPECT_EQ(*decode_etcd_pair("key", bytes), pair);
  EXPECT_EQ(decode_etcd_pair("other", bytes).error().code(), ErrorCode::kCorrupt);
  bytes.back() ^= std::byte{1};
  EXPECT_EQ(decode_etcd_pair("key", bytes).error().code(), ErrorCode::kCorrupt);
  const auto marker =
      decode_etcd_identity("key", encode_etcd_identity("key", {.cluster = 9, .witness = {.store = StoreId{5}, .amnesiac = true}}));
  ASSERT_TRUE(marker);
  EXPECT_EQ(marker->cluster, 9U);
  EXPECT_EQ(marker->witness.store, StoreId{5});
  EXPECT_TRUE(marker->witness.amnesiac);
}

std::vector<std::byte> from_hex(std::string_view text) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < text.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(std::stoi(std::string{text.substr(i, 2)}, nullptr, 16)));
  return bytes;
}

// An etcd outlives the release that wrote to it.
TEST(EtcdCodec, WhatTheFirstVersionStoredStaysReadable) {
  constexpr std::string_view kPairV1 =
      "5553445201000000f80000000000000015c5fadb8bfc4de1000000001e0000000000000001000100050000000000000001000000c20600"
      "00000000001a00000000000000010002000200000000000000040000000300020030000000040002000900000000000000000000000000"
      "00000600000000000000040000000200000009000000270000000100000000000000160000000000000008000000020000000000000000"
      "0000000b000000000000000100000000000000160000000000000004000000000000000600000000000000080000000000000009000000"
      "00000000040000000200000008000000020000000100000000000000160000000000000000000000000000000b00000000000000";
  constexpr std::string_view kMarkerV1 =
      "555344520100000028000000000000007374f6172014c68200000000040000000000000003000000090000000000000005000000000000"
      "000100000000000000";
  const NodeIncarnation a{NodeId::kA, Incarnation{11}}, b{NodeId::kB, Incarnation{22}};
  const EtcdPair pair{
      .store = StoreId{5},
      .pair = {.record = ArbiterRecord{.term = Term{9}, .mode = PairMode::kPair, .holder = b, .eligible = {a, b}, .request = RequestId{6}},
               .made_by = Proposal{.kind = ProposalKind::kSwitchover,
                                   .request = RequestId{6},
                                   .expected_term = Term{8},
                                   .at_least = Term{9},
                                   .proposer = b,
                                   .peer = a},
               .forgotten = Term{2}}};
  const auto read = decode_etcd_pair("key", from_hex(kPairV1));
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(*read, pair);
  const auto marker = decode_etcd_identity("key", from_hex(kMarkerV1));
  ASSERT_TRUE(marker) << marker.error().text();
  EXPECT_EQ(marker->cluster, 9U);
  EXPECT_EQ(marker->witness.store, StoreId{5});
  EXPECT_TRUE(marker->witness.amnesiac);
}

TEST(EtcdEndpoint, IsASchemeAnAddressAndAPort) {
  EXPECT_EQ(EtcdEndpoint::parse("http://10.0.0.3:2379"), (EtcdEndpoint{false, "10.0.0.3", 2379}));
  EXPECT_EQ(EtcdEndpoint::parse("https://[fd00::3]:1"), (EtcdEndpoint{true, "fd00::3", 1}));
  EXPECT_EQ(EtcdEndpoint::parse("https://[fd00::3]:1")->text(), "https://[fd00::3]:1");
  EXPECT_EQ(EtcdEndpoint::parse("http://10.0.0.3:2379")->text(), "http://10.0.0.3:2379");
  for (const char* const wrong :
       {"", "10.0.0.3:2379", "tcp://10.0.0.3:2379", "http://10.0.0.3", "http://10.0.0.3:0", "http://10.0.0.3:65536",
        "http://10.0.0.3:2379/", "http://etcd:2379", "http://fd00::3:2379", "http://[10.0.0.3]:1", "http://:1", "http://[]:1"})
    EXPECT_FALSE(EtcdEndpoint::parse(wrong)) << wrong;
}

}  // namespace
}  // namespace understudy
