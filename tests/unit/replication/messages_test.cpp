// The session's messages: there and back, and what a bad peer could send.
#include "replication/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/payload.h"
#include "replication/replication.capnp.h"

namespace understudy {
namespace {

using ::testing::HasSubstr;

Hello some_hello() {
  Hello hello;
  hello.expected_peer = Incarnation{17};
  hello.fingerprint.layout.regions = {{GuestPhysicalAddress{0}, PageIndex{0}, 100}, {GuestPhysicalAddress{1ULL << 32}, PageIndex{100}, 28}};
  hello.fingerprint.vcpu_count = 2;
  hello.fingerprint.tsc_khz = 2'995'200;
  hello.fingerprint.tsc_scalable = true;
  hello.fingerprint.xsave_bytes = 4096;
  hello.fingerprint.cpu_feature_words = {1, 0xffff'ffff, 3};
  hello.fingerprint.device_ids = {"serial0", "blk0:67108864"};
  hello.disks = {{67'108'864, false}, {512, true}};
  return hello;
}

TEST(MessagesTest, HelloThereAndBack) {
  const Hello hello = some_hello();
  const auto back = from_bytes<Hello>(to_bytes(hello));
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_EQ(back->expected_peer, hello.expected_peer);
  EXPECT_EQ(back->fingerprint.layout, hello.fingerprint.layout);
  EXPECT_EQ(back->fingerprint.vcpu_count, 2U);
  EXPECT_EQ(back->fingerprint.tsc_khz, 2'995'200U);
  EXPECT_TRUE(back->fingerprint.tsc_scalable);
  EXPECT_EQ(back->fingerprint.xsave_bytes, 4096U);
  EXPECT_EQ(back->fingerprint.cpu_feature_words, hello.fingerprint.cpu_feature_words);
  EXPECT_EQ(back->fingerprint.device_ids, hello.fingerprint.device_ids);
  EXPECT_EQ(back->disks, hello.disks);
}

TEST(MessagesTest, TheRestThereAndBack) {
  const auto welcome = from_bytes<Welcome>(to_bytes(Welcome{true, Term{3}, Epoch{9}}));
  ASSERT_TRUE(welcome);
  EXPECT_TRUE(welcome->image_whole);
  EXPECT_EQ(welcome->committed_term, Term{3});
  EXPECT_EQ(welcome->committed_epoch, Epoch{9});
  const auto refuse = from_bytes<Refuse>(to_bytes(Refuse{Term{8}, "no"}));
  ASSERT_TRUE(refuse);
  EXPECT_EQ(refuse->promise, Term{8});
  EXPECT_EQ(refuse->reason, "no");
  const auto begin = from_bytes<Begin>(to_bytes(Begin{true, Epoch{4}}));
  ASSERT_TRUE(begin);
  EXPECT_TRUE(begin->full);
  EXPECT_EQ(begin->base, Epoch{4});
  EXPECT_EQ(from_bytes<Ack>(to_bytes(Ack{Term{2}}))->committed_term, Term{2});
  EXPECT_EQ(from_bytes<Progress>(to_bytes(Progress{77}))->parts, 77U);
  EXPECT_EQ(from_bytes<Reject>(to_bytes(Reject{"why"}))->reason, "why");
  const auto question = from_bytes<CheckPages>(to_bytes(CheckPages{.pages = {PageIndex{7}, {11, 12}}, .state_hash = 13}));
  ASSERT_TRUE(question);
  EXPECT_EQ(question->pages, (PageCheck{PageIndex{7}, {11, 12}}));
  EXPECT_EQ(question->state_hash, 13U);
  const auto checked = from_bytes<Checked>(to_bytes(Checked{PageIndex{7}, 2, {PageIndex{8}}, true}));
  ASSERT_TRUE(checked);
  EXPECT_EQ(checked->first, PageIndex{7});
  EXPECT_EQ(checked->count, 2U);
  EXPECT_EQ(checked->differing, std::vector{PageIndex{8}});
  EXPECT_TRUE(checked->state_differs);
  EXPECT_FALSE(from_bytes<CheckPages>(to_bytes(CheckPages{.pages = {PageIndex{0}, std::vector<std::uint64_t>(kMaxCheckedPages + 1)}})));
  EXPECT_EQ(from_bytes<RaiseTerm>(to_bytes(RaiseTerm{Term{6}}))->previous, Term{6});
}

TEST(MessagesTest, AnotherVersionIsNamedWithOurs) {
  Hello hello = some_hello();
  hello.protocol_version = 9;
  const auto back = from_bytes<Hello>(to_bytes(hello));
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().code(), ErrorCode::kUnsupportedVersion);
  EXPECT_THAT(back.error().text(), HasSubstr("version 9; this release speaks version " + std::to_string(kReplicationVersion)));
}

TEST(MessagesTest, TextsAreCutAndListsBounded) {
  const auto reject = from_bytes<Reject>(to_bytes(Reject{std::string(100'000, 'x')}));
  ASSERT_TRUE(reject);
  EXPECT_EQ(reject->reason.size(), 4096U);
  Hello hello = some_hello();
  hello.disks.assign(1000, {512, false});
  const auto back = from_bytes<Hello>(to_bytes(hello));
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(back.error().text(), HasSubstr("1000 disks"));
}

TEST(MessagesTest, CutShortAnywhereIsAnErrorOrAWholeMessage) {
  const auto bytes = to_bytes(some_hello());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const auto back = from_bytes<Hello>(std::span{bytes}.first(length));
    EXPECT_FALSE(back) << length;
  }
}

}  // namespace
}  // namespace understudy
