// Standing orders in a node's store.
#include "failover/orders_codec.h"

#include <gtest/gtest.h>

#include "net/payload.h"

namespace understudy {
namespace {

StandingOrders all_orders() {
  return {.hold = {.revision = 1, .held = true, .since_ns = 2, .until_ns = 3, .by = "alice", .reason = "new kernel"},
          .fenced = "fenced by bob (memory errors)"};
}

TEST(OrdersCodec, CarriesEveryField) {
  const auto back = decode_orders(encode_orders(all_orders()));
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_EQ(*back, all_orders());
}

TEST(OrdersCodec, NothingStoredIsNothingOrdered) {
  const auto none = decode_orders({});
  ASSERT_TRUE(none);
  EXPECT_EQ(*none, StandingOrders{});
}

TEST(OrdersCodec, DamageIsToldAndTextsAreHarmless) {
  const auto wild = build_payload<schema::StandingOrders>([](schema::StandingOrders::Builder out) {
    out.initHold().setBy(std::string(5000, 'x'));
    out.setFenced("line\nbreak");
  });
  const auto tamed = decode_orders(wild);
  ASSERT_TRUE(tamed);
  EXPECT_EQ(tamed->hold.by.size(), 200U);
  EXPECT_EQ(tamed->fenced, "line?break");
  const auto revision = decode_orders(
      build_payload<schema::StandingOrders>([](schema::StandingOrders::Builder out) { out.initHold().setRevision(kMaxHoldRevision + 1); }));
  ASSERT_FALSE(revision);
  EXPECT_EQ(revision.error().code(), ErrorCode::kCorrupt);
  const auto bytes = encode_orders(all_orders());
  for (std::size_t length = 1; length < bytes.size(); ++length) EXPECT_FALSE(decode_orders(std::span{bytes}.first(length))) << length;
}

}  // namespace
}  // namespace understudy
