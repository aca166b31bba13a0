// The flight recorder's log: chunk, event, saved node and steps are refused, or understood the same way again after being written. The
// first byte chooses the decoder, and whether the input is taken as it is or as edits of good bytes.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "failover/flight_log.h"
#include "failover/node_archive.h"
#include "input_reader.h"
#include "net/base/check.h"

namespace understudy {
namespace {

using Bytes = std::vector<std::byte>;

Node lived() {
  Node node{NodeConfig{}};
  Instant now{std::chrono::hours{1}};
  node.step(now, input::Started{{NodeId::kA, Incarnation{7}}, Term{3}, Term{4}, {}});
  for (int i = 0; i < 30; ++i) node.step(now += std::chrono::milliseconds{10}, input::Tick{});
  return node;
}

Bytes steps() {
  Bytes out;
  ArchiveWriter archive{out};
  Heartbeat heartbeat;
  heartbeat.sender = {NodeId::kB, Incarnation{8}};
  heartbeat.evidence = {{ProbePath::kStorage, Health::kHealthy, std::chrono::milliseconds{3}, "well"}};
  ArbiterAnswer granted{.granted = true, .record = ArbiterRecord{}, .store = StoreId{1}, .reason = "because"};
  granted.record->eligible = {{NodeId::kA, Incarnation{7}}, {NodeId::kB, Incarnation{8}}};
  Input beat = input::HeartbeatReceived{std::move(heartbeat)};
  Input answer = input::ArbiterAnswered{AskId{1}, std::move(granted)};
  archive(beat, answer);
  return out;
}

Bytes good_input(unsigned decoder) {
  switch (decoder) {
    case 0:
      return encode_flight_chunk(
          {.serial = 3, .version = "1", .decisions = "d", .image = lived().save(), .step_count = 2, .steps = steps()});
    case 1:
      return encode_flight_event({.serial = 4, .role = "solo", .kind = "role", .text = "why"});
    case 2:
      return lived().save();
    default:
      return steps();
  }
}

void check(unsigned decoder, std::span<const std::byte> bytes) {
  switch (decoder) {
    case 0: {
      const auto chunk = decode_flight_chunk(bytes);
      if (!chunk) return;
      const auto again = decode_flight_chunk(encode_flight_chunk(*chunk));
      US_CHECK(again && again->image == chunk->image && again->steps == chunk->steps && again->serial == chunk->serial);
      return;
    }
    case 1: {
      const auto event = decode_flight_event(bytes);
      if (event) US_CHECK(decode_flight_event(encode_flight_event(*event)) == *event);
      return;
    }
    case 2: {
      const auto node = Node::restore(bytes);
      if (!node) return;
      const Bytes saved = node->save();
      const auto again = Node::restore(saved);
      US_CHECK(again && again->save() == saved);
      return;
    }
    default: {
      ArchiveReader reader{bytes};
      Input first;
      Input second;
      reader(first, second);
      if (!reader.ok()) return;
      Bytes written;
      ArchiveWriter writer{written};
      writer(first, second);
      ArchiveReader once_more{written};
      once_more(first, second);
      US_CHECK(once_more.ok() && once_more.bytes_left() == 0);
    }
  }
}

}  // namespace

}  // namespace understudy

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace understudy;
  if (size == 0) return 0;
  const auto rest = std::as_bytes(std::span{data, size}).subspan(1);
  const unsigned decoder = data[0] % 4;
  if ((data[0] & 0x80) != 0) {
    check(decoder, rest);
    return 0;
  }
  static const Bytes kGood[] = {good_input(0), good_input(1), good_input(2), good_input(3)};
  Bytes edited = kGood[decoder];
  for (std::size_t i = 0; i + 2 < rest.size(); i += 3) {
    const std::size_t at = (static_cast<std::size_t>(rest[i]) << 8 | static_cast<std::size_t>(rest[i + 1])) % edited.size();
    edited[at] = rest[i + 2];
  }
  check(decoder, edited);
  return 0;
}
