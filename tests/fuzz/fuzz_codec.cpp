// Every decoder of the network and of the stores that is below the sessions: whatever comes in is refused, or understood the same way again
// after being encoded. The first byte chooses the decoder and whether the input is taken as it is, as the payload of a good envelope, or as
// edits of a good message (random bytes alone seldom pass the first check).
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "failover/heartbeat_codec.h"
#include "failover/orders_codec.h"
#include "failover/poison_pill.h"
#include "failover/witness_codec.h"
#include "input_reader.h"
#include "net/base/check.h"
#include "net/codec.h"
#include "replication/sealed_record.h"

namespace understudy {
namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

const Envelope kEnvelope{.kind = kWitnessRequestKind, .pair = PairId{7}, .sender = NodeId::kB, .incarnation = Incarnation{22}};
const ArbiterRecord kRecord{.term = Term{9},
                            .mode = PairMode::kPair,
                            .holder = {NodeId::kB, Incarnation{22}},
                            .eligible = {{NodeId::kA, Incarnation{11}}, {NodeId::kB, Incarnation{22}}},
                            .request = RequestId{5}};
const Proposal kProposal{.kind = ProposalKind::kSwitchover,
                         .request = RequestId{5},
                         .expected_term = Term{8},
                         .at_least = Term{9},
                         .proposer = {NodeId::kB, Incarnation{22}},
                         .peer = NodeIncarnation{NodeId::kA, Incarnation{11}}};

const StandingOrders kOrders{.hold = {.revision = 3, .held = true, .since_ns = 1, .until_ns = 2, .by = "alice", .reason = "kernel"},
                             .fenced = "fenced by bob"};

Bytes good_heartbeat() {
  Heartbeat beat;
  beat.sender = {NodeId::kB, Incarnation{22}};
  beat.guest = "it rebooted";
  beat.handover = HandoverOffer{Term{9}, {Term{9}, Epoch{4}}};
  beat.evidence = {{ProbePath::kStorage, Health::kFailed, std::chrono::milliseconds{3}, "EIO"}};
  beat.hold = kOrders.hold;
  beat.hold_ends_in = std::chrono::seconds{5};
  return bytes_of(encode_heartbeat(PairId{7}, beat)[0].bytes());
}

Bytes good_input(unsigned decoder) {
  switch (decoder) {
    case 4:
      return encode_orders(kOrders);
    case 5:
      return good_heartbeat();
    case 6:
      return encode_pill({PairId{7}, Incarnation{22}, Term{9}});
    case 0:
      return bytes_of(encode(kEnvelope, encode_witness_request({.call = 3, .what = kProposal}))[0].bytes());
    case 1:
      return encode_witness_request({.call = 3, .what = kProposal});
    case 2:
      return encode_witness_reply(
          {.call = 3, .answer = ArbiterAnswer{.granted = true, .record = kRecord, .store = StoreId{1}, .reason = "r"}});
    case 3:
      return encode_witness_pair({.record = kRecord, .made_by = kProposal, .forgotten = Term{2}});
    default:
      return seal_record("pair/7", encode_witness_identity({.store = StoreId{4}, .amnesiac = true}));
  }
}

void check_envelope(std::span<const std::byte> bytes, std::size_t shift) {
  // At any address, as a transport hands it over.
  const auto owner = std::make_shared<Bytes>(bytes.size() + shift);
  std::ranges::copy(bytes, owner->begin() + static_cast<std::ptrdiff_t>(shift));
  const auto decoded = decode_any_pair({Frame{std::span{*owner}.subspan(shift), owner}});
  if (!decoded) return;
  const auto again = decode(encode(decoded->envelope, decoded->payload.bytes()), decoded->envelope.pair);
  US_CHECK(again && std::ranges::equal(again->payload.bytes(), decoded->payload.bytes()));
  US_CHECK(again->envelope.term == decoded->envelope.term && again->envelope.kind == decoded->envelope.kind);
  (void)decode_witness_request(decoded->payload.bytes());
}

void check_decoder(unsigned decoder, std::span<const std::byte> bytes, std::size_t shift) {
  switch (decoder) {
    case 0:
      return check_envelope(bytes, shift);
    case 1:
      if (const auto request = decode_witness_request(bytes)) {
        const auto again = decode_witness_request(encode_witness_request(*request));
        US_CHECK(again && again->call == request->call && again->what == request->what);
      }
      return;
    case 2:
      if (const auto reply = decode_witness_reply(bytes)) {
        const auto again = decode_witness_reply(encode_witness_reply(*reply));
        US_CHECK(again && again->answer.has_value() == reply->answer.has_value());
        if (reply->answer) US_CHECK(again->answer->record == reply->answer->record && again->answer->reason == reply->answer->reason);
      }
      return;
    case 3:
      if (const auto pair = decode_witness_pair(bytes)) {
        US_CHECK(!pair->record || valid(*pair->record));
        const auto again = decode_witness_pair(encode_witness_pair(*pair));
        US_CHECK(again && *again == *pair);
        // A record that passed may meet any proposal.
        if (pair->made_by) (void)decide(*pair, *pair->made_by, WitnessIdentity{});
      }
      return;
    case 4:
      if (const auto orders = decode_orders(bytes)) {
        const auto again = decode_orders(encode_orders(*orders));
        US_CHECK(again && *again == *orders);
      }
      return;
    case 5:
      if (const auto message = decode({Frame::copy_of(bytes)}, PairId{7})) {
        const auto beat = decode_heartbeat(*message);
        if (!beat) return;
        const auto again = decode(encode_heartbeat(PairId{7}, *beat), PairId{7});
        US_CHECK(again && decode_heartbeat(*again));
      }
      return;
    case 6:
      if (const auto pill = decode_pill(bytes); pill && *pill) {
        const auto again = decode_pill(encode_pill(**pill));
        US_CHECK(again && *again == *pill);
      }
      return;
    default:
      if (const auto payload = unseal_record("pair/7", bytes)) {
        US_CHECK(seal_record("pair/7", *payload) == bytes_of(bytes));
        (void)decode_witness_identity(*payload);
      }
  }
}

}  // namespace
}  // namespace understudy

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace understudy;
  InputReader input{data, size};
  const unsigned choice = input.byte();
  const unsigned decoder = choice % 8;
  const std::size_t shift = input.byte() % 8;
  const auto rest = std::as_bytes(std::span{data, size}).subspan(std::min<std::size_t>(size, 2));
  switch (choice / 8 % 3) {
    case 0:
      check_decoder(decoder, rest, shift);
      break;
    case 1:
      check_envelope(encode(kEnvelope, rest)[0].bytes(), shift);
      break;
    default: {
      auto bytes = good_input(decoder);
      while (!input.done()) edit_once(bytes, input);
      check_decoder(decoder, bytes, shift);
    }
  }
  return 0;
}
