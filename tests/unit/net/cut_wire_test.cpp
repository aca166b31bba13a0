// A link over a wire that is really cut, and over one whose reader stands still: in a network namespace of this program's own.
#include <cstdio>
#include <cstring>
#include <sched.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "net/base/unique_fd.h"
#include "net/zmq_link.h"
#include "tests/unit/net/loop_fixture.h"

namespace understudy {
namespace {

constexpr PairId kPair{7};

// The only wire of the namespace: its loopback.
bool wire(bool up) {
  const UniqueFd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  ifreq request{};
  std::strcpy(static_cast<char*>(request.ifr_name), "lo");
  request.ifr_flags = up ? IFF_UP : 0;
  return ::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0;
}

class CutWireTest : public LoopTest {
 protected:
  ~CutWireTest() override {
    on_loop([this] {
      a_.reset();
      b_.reset();
    });
  }
  std::unique_ptr<ZmqLink> open(ZmqLinkConfig::Side side, NodeId self, std::string endpoint, std::size_t queue_messages) {
    std::unique_ptr<ZmqLink> link;
    on_loop([&] {
      auto made = ZmqLink::create(loop(), context_,
                                  {.side = side,
                                   .endpoint = std::move(endpoint),
                                   .local_name = link_name(kPair, self),
                                   .peer_name = link_name(kPair, peer_of(self)),
                                   .queue_messages = queue_messages,
                                   .dead_after = std::chrono::milliseconds{500}});
      ASSERT_TRUE(made) << made.error().text();
      link = std::move(*made);
    });
    return link;
  }
  void open_pair(std::size_t queue_messages) {
    ASSERT_TRUE(wire(true));
    a_ = open(ZmqLinkConfig::Side::kBind, NodeId::kA, "tcp://127.0.0.1:*", queue_messages);
    ASSERT_TRUE(a_);
    b_ = open(ZmqLinkConfig::Side::kConnect, NodeId::kB, a_->endpoint(), queue_messages);
    ASSERT_TRUE(b_);
    ASSERT_TRUE(eventually([this] { return a_->connected() && b_->connected(); }));
  }
  Result<void> send(ZmqLink& link, std::size_t bytes) {
    const std::vector<std::byte> content(bytes);
    return link.send({Frame::copy_of(content)});
  }

  const std::shared_ptr<ZmqContext> context_ = ZmqContext::create();
  std::unique_ptr<ZmqLink> a_, b_;
};

TEST_F(CutWireTest, IsNoticedAtBothEndsAndHeals) {
  open_pair(64);
  ASSERT_TRUE(wire(false));
  // Both ends have something on the wire, as nodes always do.
  ASSERT_TRUE(eventually([this] {
    static_cast<void>(send(*a_, 100));
    static_cast<void>(send(*b_, 100));
    return !a_->connected() && !b_->connected();
  }));
  EXPECT_FALSE(on_loop([this] { return send(*a_, 100).has_value() || send(*b_, 100).has_value(); }));
  ASSERT_TRUE(wire(true));
  ASSERT_TRUE(eventually([this] { return a_->connected() && b_->connected(); }));
  int received = 0;
  on_loop([&] { a_->on_message([&](Message) { ++received; }); });
  EXPECT_TRUE(eventually([this] { return send(*b_, 100).has_value(); }));
  EXPECT_TRUE(eventually([&] { return received > 0; }));
}

// What a host finds that was stopped: its receive queue full and the connection gone. libzmq's own heartbeats abort the process here.
TEST_F(CutWireTest, AConnectionThatBreaksWhileTheReceiverStandsStillIsSurvived) {
  open_pair(2);
  int received = 0;
  on_loop([&] { a_->on_message([&](Message) { ++received; }); });
  // The loop is a's and b's: b sends until nothing more goes out, while a can't take any, and then the wire is cut for longer than
  // connections live.
  on_loop([this] {
    for (int quiet = 0; quiet < 20;) {
      quiet = send(*b_, 256 << 10) ? 0 : quiet + 1;
      ::usleep(10'000);
    }
    ASSERT_TRUE(wire(false));
    ::usleep(2'500'000);
    ASSERT_TRUE(wire(true));
  });
  EXPECT_TRUE(eventually([this] { return a_->connected() && b_->connected(); }));
  received = 0;
  EXPECT_TRUE(eventually([this] { return send(*b_, 100).has_value(); }));
  EXPECT_TRUE(eventually([&] { return received > 0; }));
}

}  // namespace
}  // namespace understudy

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  // Before any thread is there: threads made later are in the same namespace.
  if (::unshare(CLONE_NEWNET) != 0) {
    std::perror("cut_wire_test: a network namespace of its own needs root");
    return 1;
  }
  return RUN_ALL_TESTS();
}
