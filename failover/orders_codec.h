// An operator's orders as bytes: of a hold within a heartbeat, and of all standing orders in a node's store.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "failover/failover.capnp.h"
#include "failover/node_io.h"
#include "net/base/result.h"

namespace understudy {

inline constexpr Duration kMaxHoldLength = std::chrono::hours{24 * 366};

// A text that someone else wrote, fit for a log: cut to `max_bytes`, and without control characters.
std::string clean_text(capnp::Text::Reader text, std::size_t max_bytes);

// Any thread. Texts are cut to 200 bytes when they are read. Errors: kCorrupt, with what is wrong.
void write_hold(const Hold& hold, schema::Hold::Builder out);
Result<Hold> read_hold(schema::Hold::Reader in);

std::vector<std::byte> encode_orders(const StandingOrders& orders);
// No bytes at all are a node's that never had any.
Result<StandingOrders> decode_orders(std::span<const std::byte> bytes);

}  // namespace understudy
