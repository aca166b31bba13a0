#include "failover/orders_codec.h"

#include <algorithm>

#include "net/payload.h"

namespace understudy {
namespace {

constexpr std::size_t kMaxWordsBytes = 200;
constexpr std::size_t kMaxFencedBytes = 500;

}  // namespace

std::string clean_text(capnp::Text::Reader text, std::size_t max_bytes) {
  std::string out{text.cStr(), std::min(text.size(), max_bytes)};
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return out;
}

void write_hold(const Hold& hold, schema::Hold::Builder out) {
  out.setRevision(hold.revision);
  out.setHeld(hold.held);
  out.setSinceNs(hold.since_ns);
  out.setUntilNs(hold.until_ns);
  out.setBy(hold.by);
  out.setReason(hold.reason);
}

Result<Hold> read_hold(schema::Hold::Reader in) {
  if (in.getRevision() > kMaxHoldRevision)
    return Error{ErrorCode::kCorrupt, "revision " + std::to_string(in.getRevision()) + " of a hold: no pair lives to see so many"};
  return Hold{.revision = in.getRevision(),
              .held = in.getHeld(),
              .since_ns = in.getSinceNs(),
              .until_ns = in.getUntilNs(),
              .by = clean_text(in.getBy(), kMaxWordsBytes),
              .reason = clean_text(in.getReason(), kMaxWordsBytes)};
}

std::vector<std::byte> encode_orders(const StandingOrders& orders) {
  return build_payload<schema::StandingOrders>([&](schema::StandingOrders::Builder out) {
    write_hold(orders.hold, out.initHold());
    out.setFenced(orders.fenced);
  });
}

Result<StandingOrders> decode_orders(std::span<const std::byte> bytes) {
  if (bytes.empty()) return StandingOrders{};
  auto read = read_payload<schema::StandingOrders>(bytes, [](schema::StandingOrders::Reader in) -> Result<StandingOrders> {
    StandingOrders out;
    US_ASSIGN(out.hold, read_hold(in.getHold()));
    out.fenced = clean_text(in.getFenced(), kMaxFencedBytes);
    return out;
  });
  if (!read) return std::move(read.error()).within("standing orders");
  return read;
}

}  // namespace understudy
