// The exchange of keys: pure, over a socket, and with somebody in between.
#include <array>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <set>
#include <string>
#include <thread>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "failover/pair_command.h"
#include "failover/pair_exchange.h"

namespace understudy {
namespace {

using testing::HasSubstr;
using Side = PairExchange::Side;

CurvePublicKey some_key() { return CurveSecretKey::generate().public_key(); }

PairExchange end(Side side, const CurvePublicKey& key) { return {side, key, PairExchange::random_nonce()}; }

TEST(PairExchange, BothEndsLearnTheOthersKeyAndShowTheSameCode) {
  const auto a = some_key(), b = some_key();
  auto listens = end(Side::kListens, a);
  auto connects = end(Side::kConnects, b);
  const auto shown = listens.receive(connects.begin());
  ASSERT_TRUE(shown) << shown.error().text();
  EXPECT_FALSE(listens.done());
  const auto revealed = connects.receive(*shown);
  ASSERT_TRUE(revealed) << revealed.error().text();
  const auto nothing = listens.receive(*revealed);
  ASSERT_TRUE(nothing) << nothing.error().text();
  EXPECT_TRUE(nothing->empty());
  ASSERT_TRUE(listens.done() && connects.done());
  EXPECT_EQ(listens.peer(), b);
  EXPECT_EQ(connects.peer(), a);
  EXPECT_EQ(listens.code(), connects.code());
  EXPECT_THAT(listens.code(), testing::MatchesRegex("[0-9]{4} [0-9]{4}"));
}

TEST(PairExchange, CodesAreOfTheKeysAndFreshEachTime) {
  const auto a = some_key(), b = some_key();
  std::set<std::string> codes;
  for (int i = 0; i < 100; ++i) {
    auto listens = end(Side::kListens, a);
    auto connects = end(Side::kConnects, b);
    ASSERT_TRUE(listens.receive(*connects.receive(*listens.receive(connects.begin()))));
    codes.insert(connects.code());
  }
  EXPECT_GE(codes.size(), 99U);  // a second pair of equal ones among 100 of 10^8 is as good as impossible
}

// Somebody who shows each end a key of his own, with all the freedom that the order of messages leaves.
TEST(PairExchange, WhoStandsBetweenShowsTwoCodes) {
  int equal = 0;
  for (int i = 0; i < 200; ++i) {
    auto a = end(Side::kListens, some_key());
    auto b = end(Side::kConnects, some_key());
    const auto forged = some_key();
    auto towards_a = end(Side::kConnects, forged);
    auto towards_b = end(Side::kListens, forged);
    ASSERT_TRUE(towards_b.receive(b.begin()));
    const auto a_shows = a.receive(towards_a.begin());
    ASSERT_TRUE(a_shows);
    const auto to_a = towards_a.receive(*a_shows);  // he knows a's code by now, and searches for a nonce that gives b the same
    ASSERT_TRUE(to_a && a.receive(*to_a));
    ASSERT_TRUE(b.receive(encode_pair_message(PairReveal{forged, PairExchange::random_nonce()})));
    ASSERT_TRUE(a.done() && b.done());
    EXPECT_EQ(a.peer(), forged);
    equal += a.code() == b.code() ? 1 : 0;
  }
  EXPECT_EQ(equal, 0);
}

TEST(PairExchange, AKeyIsNotChangedOnceItIsCommittedTo) {
  auto a = end(Side::kListens, some_key());
  const PairReveal first{some_key(), PairExchange::random_nonce()};
  ASSERT_TRUE(a.receive(encode_pair_message(commitment_to(first))));
  const auto other_key = PairReveal{some_key(), first.nonce};
  auto changed = a.receive(encode_pair_message(other_key));
  ASSERT_FALSE(changed);
  EXPECT_EQ(changed.error().code(), ErrorCode::kRefused);
  EXPECT_THAT(changed.error().text(), HasSubstr("another key than it had committed to"));
  changed = a.receive(encode_pair_message(PairReveal{first.key, PairExchange::random_nonce()}));
  EXPECT_FALSE(changed) << "nor is the nonce";
  EXPECT_FALSE(a.done());
}

TEST(PairExchange, RefusesWhatIsOutOfTurn) {
  const auto own = some_key();
  const auto reveal = encode_pair_message(PairReveal{some_key(), PairExchange::random_nonce()});
  const auto commit = encode_pair_message(PairCommit{});
  EXPECT_THAT(end(Side::kListens, own).receive(reveal).error().text(), HasSubstr("out of turn")) << "nothing was committed to";
  EXPECT_THAT(end(Side::kConnects, own).receive(commit).error().text(), HasSubstr("out of turn"));
  auto listens = end(Side::kListens, own);
  ASSERT_TRUE(listens.receive(commit));
  EXPECT_THAT(listens.receive(commit).error().text(), HasSubstr("out of turn")) << "a second guess";
  auto connects = end(Side::kConnects, own);
  ASSERT_TRUE(connects.receive(reveal));
  EXPECT_THAT(connects.receive(reveal).error().text(), HasSubstr("out of turn"));
  EXPECT_THAT(end(Side::kConnects, own).receive(encode_pair_message(PairReveal{own, {}})).error().text(), HasSubstr("own key"));
}

TEST(PairExchange, DecodesOnlyWhatItEncodes) {
  const PairMessage messages[] = {PairCommit{{1, 2, 3}}, PairReveal{some_key(), {4, 5, 6}}};
  for (const auto& message : messages) {
    const auto good = encode_pair_message(message);
    EXPECT_LE(good.size(), kMaxPairMessageBytes);
    EXPECT_EQ(decode_pair_message(good).value(), message);
    for (std::size_t cut = 0; cut < good.size(); ++cut) EXPECT_FALSE(decode_pair_message(std::span{good}.first(cut))) << cut;
    auto longer = good;
    longer.push_back(std::byte{});
    EXPECT_FALSE(decode_pair_message(longer));
    for (std::size_t at = 0; at < 8; ++at) {
      auto wrong = good;
      wrong[at] ^= std::byte{0x40};
      EXPECT_FALSE(decode_pair_message(wrong)) << at;
    }
  }
}

class PairCommandTest : public testing::Test {
 protected:
  PairCommandTest() {
    std::string path = (std::filesystem::temp_directory_path() / "understudy-pair-XXXXXX").string();
    folder_ = ::mkdtemp(path.data());
    key_a_ = make_key_file(folder_ / "a.key").value();
    key_b_ = make_key_file(folder_ / "b.key").value();
  }
  ~PairCommandTest() override { std::filesystem::remove_all(folder_); }

  // Both ends in threads; what a and b came to. Each person answers by what both are shown.
  std::pair<Result<CurvePublicKey>, Result<CurvePublicKey>> run(const std::function<bool(const std::string&)>& a_says,
                                                                const std::function<bool(const std::string&)>& b_says) {
    std::promise<std::string> at;
    PairOptions listens{.key_file = folder_ / "a.key", .listen = "tcp://127.0.0.1:*", .connect = {}, .timeout = std::chrono::seconds{60}};
    listens.listening = [&](const std::string& endpoint) { at.set_value(endpoint); };
    auto a = std::async(std::launch::async, [&] {
      return exchange_keys(
          listens, [&](const std::string& code, Instant) -> Result<bool> { return a_says(code); }, clock_);
    });
    const PairOptions connects{
        .key_file = folder_ / "b.key", .listen = {}, .connect = at.get_future().get(), .timeout = std::chrono::seconds{60}};
    auto b = exchange_keys(
        connects, [&](const std::string& code, Instant) -> Result<bool> { return b_says(code); }, clock_);
    return {a.get(), std::move(b)};
  }

  const MonotonicClock clock_;
  std::filesystem::path folder_;
  CurvePublicKey key_a_{CurveKeyBytes{}}, key_b_{CurveKeyBytes{}};
};

TEST_F(PairCommandTest, TwoHostsExchangeTheirKeys) {
  std::string a_saw, b_saw;
  const auto [a, b] =
      run([&](const std::string& code) { return a_saw = code, true; }, [&](const std::string& code) { return b_saw = code, true; });
  ASSERT_TRUE(a && b) << (a ? b.error().text() : a.error().text());
  EXPECT_EQ(*a, key_b_);
  EXPECT_EQ(*b, key_a_);
  EXPECT_EQ(a_saw, b_saw);
}

TEST_F(PairCommandTest, AKeyWhoseCodeAPersonRefusesIsNotGiven) {
  const auto [a, b] = run([](const std::string&) { return false; }, [](const std::string&) { return true; });
  ASSERT_FALSE(a);
  EXPECT_EQ(a.error().code(), ErrorCode::kRefused);
  EXPECT_THAT(a.error().text(), HasSubstr("the codes differ"));
}

TEST_F(PairCommandTest, NobodyThereIsATimeout) {
  const auto asked = [](const std::string&, Instant) -> Result<bool> { return true; };
  for (const auto& options : {PairOptions{.key_file = folder_ / "a.key", .listen = "tcp://127.0.0.1:*", .connect = {}},
                              PairOptions{.key_file = folder_ / "a.key", .listen = {}, .connect = "tcp://127.0.0.1:1"}}) {
    auto soon = options;
    soon.timeout = std::chrono::milliseconds{100};
    const auto peer = exchange_keys(soon, asked, clock_);
    ASSERT_FALSE(peer);
    EXPECT_EQ(peer.error().code(), ErrorCode::kTimeout);
  }
}

TEST_F(PairCommandTest, MistakesAreOneClearError) {
  const auto asked = [](const std::string&, Instant) -> Result<bool> { return true; };
  const auto says = [&](const PairOptions& options) { return exchange_keys(options, asked, clock_).error().text(); };
  EXPECT_THAT(says({.key_file = folder_ / "a.key", .listen = {}, .connect = {}}), HasSubstr("expected --listen on one host"));
  EXPECT_THAT(says({.key_file = folder_ / "none.key", .listen = "tcp://127.0.0.1:*", .connect = {}}), HasSubstr("understudy keygen"));
  EXPECT_THAT(says({.key_file = folder_ / "a.key", .listen = "127.0.0.1", .connect = {}}), HasSubstr("expected an endpoint like"));
  EXPECT_EQ(make_key_file(folder_ / "a.key").error().code(), ErrorCode::kRefused) << "never overwritten";
}

TEST_F(PairCommandTest, APersonSaysYesOrNoInTime) {
  const auto answer = [this](std::string_view typed, Duration patience) {
    std::array<int, 2> pipe{};
    EXPECT_EQ(::pipe(pipe.data()), 0);
    EXPECT_EQ(::write(pipe[1], typed.data(), typed.size()), static_cast<ssize_t>(typed.size()));
    if (patience > Duration{std::chrono::seconds{1}}) ::close(pipe[1]);
    const auto said = ask_for_same_code(pipe[0], "1234 5678", clock_.now() + patience, clock_);
    ::close(pipe[0]);
    if (patience <= Duration{std::chrono::seconds{1}}) ::close(pipe[1]);
    return !said ? said.error().text() : *said ? "yes" : "no";
  };
  const Duration kLong = std::chrono::seconds{60};
  EXPECT_EQ(answer("yes\n", kLong), "yes");
  EXPECT_EQ(answer("no\n", kLong), "no");
  EXPECT_EQ(answer("y\nwell\nyes\n", kLong), "yes");
  EXPECT_THAT(answer("ye", kLong), HasSubstr("the comparison wants a person"));
  EXPECT_THAT(answer("ye", std::chrono::milliseconds{20}), HasSubstr("nobody compared the codes in time"));
}

}  // namespace
}  // namespace understudy
