// The key-value service's promise: each request once, each repetition answered by the same bytes.
#include "tests/guest/kv_service.h"

#include <cstring>
#include <memory>

#include <gtest/gtest.h>

namespace understudy::guest {
namespace {

struct KvFixture {
  std::unique_ptr<KvService> service = std::make_unique<KvService>();
  KvFixture() { service->set_boot_count(77); }

  KvReply ask(const KvRequest& request) {
    unsigned char in[sizeof request];
    unsigned char out[64];
    std::memcpy(in, &request, sizeof request);
    EXPECT_EQ(service->answer(in, out), sizeof(KvReply));
    KvReply reply{};
    std::memcpy(&reply, out, sizeof reply);
    return reply;
  }
};

KvRequest request(std::uint32_t client, std::uint64_t id, KvOperation operation, std::uint32_t key, std::uint64_t value) {
  return {kKvRequestMagic, client, id, static_cast<std::uint32_t>(operation), key, value};
}
constexpr auto status(KvStatus s) { return static_cast<std::uint32_t>(s); }

TEST(KvService, ExecutesAndChainsTheChecksum) {
  KvFixture f;
  const KvRequest put = request(1, 1, KvOperation::kPut, 5, 40);
  const KvRequest add = request(2, 1, KvOperation::kAdd, 5, 2);
  const KvRequest get = request(1, 2, KvOperation::kGet, 5, 0);
  std::uint64_t sum = next_checksum(kKvInitialChecksum, put, 40);
  EXPECT_EQ(f.ask(put).state_checksum, sum);
  sum = next_checksum(sum, add, 42);
  EXPECT_EQ(f.ask(add).value, 42U);
  sum = next_checksum(sum, get, 42);
  const KvReply reply = f.ask(get);
  EXPECT_EQ(reply.magic, kKvReplyMagic);
  EXPECT_EQ(reply.status, status(KvStatus::kOk));
  EXPECT_EQ(reply.value, 42U);
  EXPECT_EQ(reply.sequence, 3U);
  EXPECT_EQ(reply.state_checksum, sum);
  EXPECT_EQ(reply.boot_count, 77U);
}

TEST(KvService, RepeatedIdGetsTheSameBytesAndIsNotExecutedAgain) {
  KvFixture f;
  const KvRequest add = request(3, 1, KvOperation::kAdd, 9, 1);
  const KvReply first = f.ask(add);
  f.ask(request(4, 1, KvOperation::kAdd, 9, 10));
  for (int i = 0; i < 5; ++i) {
    const KvReply again = f.ask(add);
    EXPECT_EQ(std::memcmp(&again, &first, sizeof first), 0);
  }
  EXPECT_EQ(f.ask(request(3, 2, KvOperation::kGet, 9, 0)).value, 11U);
  EXPECT_EQ(f.service->sequence(), 3U);
}

TEST(KvService, RemembersAsManyRepliesAsItSays) {
  KvFixture f;
  for (std::uint64_t id = 1; id <= 200; ++id) f.ask(request(0, id, KvOperation::kAdd, 0, 1));
  EXPECT_EQ(f.ask(request(0, 137, KvOperation::kAdd, 0, 1)).value, 137U);
  EXPECT_EQ(f.ask(request(0, 136, KvOperation::kAdd, 0, 1)).status, status(KvStatus::kTooOld));
  EXPECT_EQ(f.service->sequence(), 200U);
}

TEST(KvService, IdsMayArriveOutOfOrder) {
  KvFixture f;
  for (const std::uint64_t id : {3ULL, 1ULL, 2ULL, 65ULL})
    EXPECT_EQ(f.ask(request(0, id, KvOperation::kAdd, 0, 1)).status, status(KvStatus::kOk));
  EXPECT_EQ(f.service->sequence(), 4U);
  EXPECT_EQ(f.ask(request(0, 1, KvOperation::kAdd, 0, 1)).status, status(KvStatus::kTooOld)) << "its place is taken by 65";
}

TEST(KvService, BadRequestsChangeNothing) {
  KvFixture f;
  const KvRequest bad[] = {request(kKvMaxClients, 1, KvOperation::kPut, 0, 1), request(0, 1, KvOperation::kPut, kKvKeyCount, 1),
                           request(0, 0, KvOperation::kPut, 0, 1), request(0, 1, KvOperation{0}, 0, 1),
                           request(0, 1, KvOperation{4}, 0, 1)};
  for (const auto& each : bad) EXPECT_EQ(f.ask(each).status, status(KvStatus::kBadRequest));
  EXPECT_EQ(f.service->sequence(), 0U);
  EXPECT_EQ(f.service->mutation_count(), 0U);
}

TEST(KvService, AnOrderToEndIsForOneBootAndIsNoExecution) {
  KvFixture f;
  const auto order = [&](std::uint32_t how, std::uint64_t boot) {
    const KvRequest end{kKvRequestMagic, 0, 1, static_cast<std::uint32_t>(KvOperation::kEnd), how, boot};
    unsigned char in[sizeof end];
    unsigned char out[64];
    std::memcpy(in, &end, sizeof end);
    return f.service->answer(in, out);
  };
  EXPECT_EQ(order(static_cast<std::uint32_t>(GuestEnd::kReset), 76), 0U);
  EXPECT_EQ(f.service->end_asked(), std::nullopt) << "another boot's";
  EXPECT_EQ(order(0, 77), sizeof(KvReply)) << "a bad request";
  EXPECT_EQ(order(4, 77), sizeof(KvReply));
  EXPECT_EQ(f.service->end_asked(), std::nullopt);
  EXPECT_EQ(order(static_cast<std::uint32_t>(GuestEnd::kTripleFault), 77), 0U);
  EXPECT_EQ(f.service->end_asked(), GuestEnd::kTripleFault);
  EXPECT_EQ(f.service->sequence(), 0U);
  EXPECT_EQ(f.ask(request(0, 1, KvOperation::kGet, 0, 0)).sequence, 1U) << "it took no id";
}

TEST(KvService, SilentToWhatIsNoRequest) {
  KvFixture f;
  unsigned char out[64];
  KvRequest wrong = request(0, 1, KvOperation::kPut, 0, 1);
  wrong.magic ^= 1;
  unsigned char bytes[sizeof wrong + 1]{};
  std::memcpy(bytes, &wrong, sizeof wrong);
  EXPECT_EQ(f.service->answer(InBytes{bytes, sizeof wrong}, out), 0U);
  wrong.magic ^= 1;
  std::memcpy(bytes, &wrong, sizeof wrong);
  for (const std::size_t size : {std::size_t{0}, sizeof wrong - 1, sizeof wrong + 1})
    EXPECT_EQ(f.service->answer(InBytes{bytes, size}, out), 0U);
  EXPECT_EQ(f.service->answer(InBytes{bytes, sizeof wrong}, OutBytes{out, sizeof(KvReply) - 1}), 0U);
}

TEST(KvService, MutationsWaitForTheLog) {
  KvFixture f;
  f.ask(request(0, 1, KvOperation::kPut, 1, 10));
  f.ask(request(0, 2, KvOperation::kGet, 1, 0));
  f.ask(request(0, 3, KvOperation::kAdd, 1, 5));
  f.ask(request(0, 3, KvOperation::kAdd, 1, 5));
  ASSERT_EQ(f.service->mutation_count(), 2U);
  EXPECT_EQ(f.service->mutation(1).value, 15U);
  EXPECT_EQ(f.service->mutation(1).sequence, 3U);
  EXPECT_EQ(f.service->mutation(1).state_checksum, f.service->state_checksum());
  f.service->take_mutations();
  EXPECT_EQ(f.service->mutation_count(), 0U);
}

}  // namespace
}  // namespace understudy::guest
