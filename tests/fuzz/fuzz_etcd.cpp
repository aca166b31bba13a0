// What an etcd answers, and what is stored there: refused in one line, or understood as something that the rules can work with.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "failover/etcd_codec.h"
#include "input_reader.h"
#include "net/base/check.h"

namespace understudy {
namespace {

const EtcdTxn kRead{.keys = {"k", "p"}, .unchanged = {}, .put = {}};
const EtcdTxn kWrite{.keys = {"k", "p"}, .unchanged = {7, 0}, .put = EtcdPut{"p", {std::byte{1}}}};

constexpr std::string_view kAnswers[] = {
    R"({"header":{"cluster_id":"14841639068965178418","revision":"9"},"succeeded":true,"responses":[{"response_range":{"header":{},"kvs":)"
    R"([{"key":"aw==","create_revision":"7","mod_revision":"8","version":"2","value":"dg=="}],"count":"1"}},{"response_range":{}}]})",
    R"({"header":{"cluster_id":"5","revision":"9"},"succeeded":true,"responses":[{"response_put":{"header":{"revision":"10"}}}]})",
    R"({"header":{"cluster_id":"5","revision":"9"},"responses":[{"response_range":{}},{"response_range":{}}]})",
    R"({"error":"etcdserver: no leader","message":"etcdserver: no leader","code":14})",
};

EtcdPair sound_pair() {
  const NodeIncarnation a{NodeId::kA, Incarnation{11}}, b{NodeId::kB, Incarnation{22}};
  return {
      .store = StoreId{5},
      .pair = {.record = ArbiterRecord{.term = Term{9}, .mode = PairMode::kPair, .holder = b, .eligible = {a, b}, .request = RequestId{5}},
               .made_by = Proposal{.kind = ProposalKind::kSwitchover,
                                   .request = RequestId{5},
                                   .expected_term = Term{8},
                                   .at_least = Term{9},
                                   .proposer = b,
                                   .peer = a},
               .forgotten = Term{2}}};
}

bool printable(std::string_view text) {
  return std::ranges::none_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

void check_answer(std::string_view json) {
  for (const auto* const txn : {&kRead, &kWrite}) {
    const auto answer = decode_etcd_txn(*txn, json);
    if (!answer) continue;
    US_CHECK(answer->cluster != 0 && answer->revision > 0);
    US_CHECK(answer->written ? txn->put && answer->values.empty() : answer->values.size() == txn->keys.size());
    for (const auto& value : answer->values) US_CHECK(value.mod_revision > 0 || (value.mod_revision == 0 && value.bytes.empty()));
  }
  US_CHECK(printable(decode_etcd_fault(json)));
}

void check_pair(std::span<const std::byte> value) {
  const auto pair = decode_etcd_pair("k", value);
  if (!pair) return;
  US_CHECK(!pair->pair.record || valid(*pair->pair.record));
  const auto again = decode_etcd_pair("k", encode_etcd_pair("k", *pair));
  US_CHECK(again && *again == *pair);
}

// Random changes of a few bytes: random input alone seldom passes the first check.
template <class Bytes>
void edit(InputReader& input, Bytes& bytes) {
  while (!input.done() && !bytes.empty()) {
    const auto at = input.take<std::uint16_t>() % bytes.size();
    const auto byte = input.byte();
    if (byte % 8 == 0)
      bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(at));
    else
      bytes[at] = static_cast<typename Bytes::value_type>(byte);
  }
}

}  // namespace
}  // namespace understudy

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace understudy;
  InputReader input{data, size};
  const unsigned choice = input.byte() % 8;
  const auto rest = std::as_bytes(std::span{data, size}).subspan(std::min<std::size_t>(size, 1));
  if (choice < 4) {
    std::string json{kAnswers[choice]};
    edit(input, json);
    check_answer(json);
  } else if (choice == 4) {
    check_answer({reinterpret_cast<const char*>(rest.data()), rest.size()});
  } else if (choice == 5) {
    check_pair(rest);
  } else {
    auto value = encode_etcd_pair("k", sound_pair());
    edit(input, value);
    check_pair(value);
  }
  return 0;
}
