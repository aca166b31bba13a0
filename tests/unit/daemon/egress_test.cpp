// The egress thread announces the guest's address only while this host cannot have been followed.
#include "failover/daemon/egress.h"

#include <atomic>
#include <deque>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

namespace understudy {
namespace {

constexpr GuestAddress kGuest{.mac = MacAddress{{0x52, 0x54, 0, 0x12, 0x34, 0x56}}, .ipv4 = Ipv4Address{{10, 0, 0, 10}}, .ipv6 = {}};

// The machine's clock, which jumps when told: to the loop that reads it, a jump is a stop of the whole host.
class JumpingClock final : public Clock {
 public:
  Instant now() const override { return real_.now() + Duration{jumped_ns_.load()}; }
  void jump(Duration by) { jumped_ns_ += by.count(); }

 private:
  const MonotonicClock real_;
  std::atomic<std::int64_t> jumped_ns_{0};
};

class CountingPort final : public PacketPort {
 public:
  bool offloads() const override { return false; }
  Result<void> set_receive_offloads(const Offloads&) override { return {}; }
  Result<void> send(const FrameOffload&, std::span<const std::byte>) override {
    ++sent;
    return {};
  }
  Result<std::optional<ReceivedFrame>> receive(std::span<std::byte> buffer) override {
    if (!foreign.exchange(false)) return std::optional<ReceivedFrame>{};
    std::fill(buffer.begin(), buffer.begin() + 60, std::byte{0});
    for (std::size_t i = 0; i < 6; ++i) buffer[6 + i] = static_cast<std::byte>(kGuest.mac.octets[i]);
    return std::optional{ReceivedFrame{.bytes = 60, .offload = {}}};
  }
  int fd() const override { return -1; }

  std::atomic<int> sent{0};
  std::atomic<bool> foreign{false};  // a frame that claims to be our guest's waits
};

class EgressTest : public testing::Test {
 protected:
  void SetUp() override {
    auto port = std::make_unique<CountingPort>();
    port_ = port.get();
    auto egress = Egress::start(clock_, std::move(port), kGuest, {.gap = [this](Instant, Duration) { ++gaps_; }});
    ASSERT_TRUE(egress) << egress.error().text();
    egress_ = std::move(*egress);
  }
  // Bounded only against a hang.
  template <class Condition>
  static bool eventually(Condition condition) {
    for (int tries = 0; tries < 10'000 && !condition(); ++tries) std::this_thread::sleep_for(std::chrono::milliseconds{1});
    return condition();
  }
  void hear_another_host() {
    port_->foreign = true;
    std::array<std::byte, NetBackend::kMaxFrameBytes> frame;
    EXPECT_FALSE(egress_->gate()->receive(frame)) << "such a frame never reaches the guest";
  }
  // Several ticks of the egress thread, in which it could have announced.
  void let_it_tick() { std::this_thread::sleep_for(std::chrono::milliseconds{150}); }

  JumpingClock clock_;
  std::atomic<int> gaps_{0};
  CountingPort* port_ = nullptr;
  std::unique_ptr<Egress> egress_;
};

TEST_F(EgressTest, AfterAStopItIsQuietUntilItsTermIsConfirmed) {
  egress_->gate()->solo(Term{3});
  egress_->announce();
  ASSERT_TRUE(eventually([&] { return port_->sent > 0; }));
  clock_.jump(std::chrono::seconds{10});  // further rounds are due at once now
  ASSERT_TRUE(eventually([&] { return gaps_ > 0; }));
  const int before = port_->sent;
  hear_another_host();
  let_it_tick();
  EXPECT_EQ(port_->sent, before);
  egress_->gate()->confirm_term(Term{3}, clock_.now());
  EXPECT_TRUE(eventually([&] { return port_->sent > before; }));
}

TEST_F(EgressTest, AHostThatWokeFencedSaysNothing) {
  egress_->gate()->solo(Term{3});
  egress_->announce();
  ASSERT_TRUE(eventually([&] { return port_->sent > 0; }));
  clock_.jump(std::chrono::seconds{10});
  ASSERT_TRUE(eventually([&] { return gaps_ > 0; }));
  const int before = port_->sent;
  egress_->gate()->mute();
  let_it_tick();
  EXPECT_EQ(port_->sent, before);
}

TEST_F(EgressTest, InAPairTheTrafficIsCalledBackOnlyAfterAnotherCommit) {
  egress_->gate()->pair(Term{3});
  hear_another_host();
  let_it_tick();
  EXPECT_EQ(port_->sent, 0) << "the peer may have taken over: it acks no more";
  egress_->gate()->close_epoch(Epoch{1});
  egress_->gate()->commit(Term{3}, Epoch{1});
  EXPECT_TRUE(eventually([&] { return port_->sent > 0; }));
}

TEST_F(EgressTest, InSoloTheTrafficIsCalledBackAtOnce) {
  egress_->gate()->solo(Term{3});
  hear_another_host();
  EXPECT_TRUE(eventually([&] { return port_->sent > 0; }));
}

}  // namespace
}  // namespace understudy
