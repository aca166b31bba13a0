#include "net/zmq_link.h"

#include <algorithm>
#include <optional>
#include <string>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zmq.hpp>

#include "tests/unit/net/loop_fixture.h"

namespace understudy {
namespace {

using testing::ElementsAre;
using Side = ZmqLinkConfig::Side;

constexpr PairId kPair{7};

Frame text_frame(std::string_view text) { return Frame::copy_of(std::as_bytes(std::span{text})); }
std::string text_of(const Frame& frame) { return {reinterpret_cast<const char*>(frame.bytes().data()), frame.bytes().size()}; }

// One end of a link with all that came out of it, in order: "up", "down", "writable" or a message's frames joined by '|'.
struct End {
  std::unique_ptr<ZmqLink> link;
  std::vector<std::string> events;
  std::vector<Message> messages;

  void listen(bool keep_messages = false) {
    link->on_message([this, keep_messages](Message message) {
      std::string text;
      for (const auto& frame : message) text += (text.empty() ? "" : "|") + text_of(frame).substr(0, 32);
      events.push_back(text);
      if (keep_messages) messages.push_back(std::move(message));
    });
    link->on_connection([this](bool up) { events.emplace_back(up ? "up" : "down"); });
    link->on_writable([this] { events.emplace_back("writable"); });
  }
  bool saw(std::string_view event) const { return std::ranges::find(events, event) != events.end(); }
  long count(std::string_view event) const { return std::ranges::count(events, event); }
};

class ZmqLinkTest : public LoopTest {
 protected:
  ~ZmqLinkTest() override {
    on_loop([this] {
      a_.link.reset();
      b_.link.reset();
      c_.link.reset();
    });
  }

  static ZmqLinkConfig config(Side side, NodeId self, std::string endpoint) {
    return {
        .side = side, .endpoint = std::move(endpoint), .local_name = link_name(kPair, self), .peer_name = link_name(kPair, peer_of(self))};
  }
  void open(End& end, const ZmqLinkConfig& with, bool keep_messages = false) {
    on_loop([&] {
      auto made = ZmqLink::create(loop(), context_, with);
      ASSERT_TRUE(made) << made.error().text();
      end.link = std::move(*made);
      end.listen(keep_messages);
    });
    ASSERT_NE(end.link, nullptr);
  }
  // a binds, b connects, both up.
  void open_pair() {
    open(a_, config(Side::kBind, NodeId::kA, "tcp://127.0.0.1:*"));
    open(b_, config(Side::kConnect, NodeId::kB, a_.link->endpoint()));
    ASSERT_TRUE(eventually([this] { return a_.link->connected() && b_.link->connected(); }));
  }
  Result<void> send(End& end, const std::string& text) {
    return on_loop([&] { return end.link->send({text_frame(text)}); });
  }

  const std::shared_ptr<ZmqContext> context_ = ZmqContext::create();
  End a_, b_, c_;
};

TEST_F(ZmqLinkTest, CarriesWholeMessagesBothWaysInOrder) {
  open_pair();
  on_loop([this] {
    EXPECT_TRUE(b_.link->send({text_frame("one"), text_frame(""), text_frame("bulk")}));
    EXPECT_TRUE(b_.link->send({text_frame("two")}));
    EXPECT_TRUE(a_.link->send({text_frame("reply")}));
  });
  EXPECT_TRUE(eventually([this] { return a_.events.size() == 3 && b_.events.size() == 2; }));
  on_loop([this] {
    EXPECT_THAT(a_.events, ElementsAre("up", "one||bulk", "two"));
    EXPECT_THAT(b_.events, ElementsAre("up", "reply"));
    EXPECT_EQ(a_.link->counters().messages_received, 2U);
    EXPECT_EQ(a_.link->counters().bytes_received, 10U);
    EXPECT_EQ(b_.link->counters().bytes_sent, 10U);
  });
}

TEST_F(ZmqLinkTest, ConnectsWhicheverEndComesFirst) {
  open(b_, config(Side::kConnect, NodeId::kB, "ipc://@understudy-link-test-" + std::to_string(::getpid())));
  open(a_, config(Side::kBind, NodeId::kA, "ipc://@understudy-link-test-" + std::to_string(::getpid())));
  EXPECT_TRUE(eventually([this] { return a_.link->connected() && b_.link->connected(); }));
}

TEST_F(ZmqLinkTest, NothingWaitsForAnAbsentPeer) {
  open(a_, config(Side::kBind, NodeId::kA, "tcp://127.0.0.1:*"));
  for (const auto* end : {&a_}) {
    const auto sent = send(a_, "lost");
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().code(), ErrorCode::kUnavailable);
    EXPECT_EQ(end->link->counters().sends_refused, 1U);
  }
  open(b_, config(Side::kConnect, NodeId::kB, a_.link->endpoint()));
  ASSERT_TRUE(eventually([this] { return a_.link->connected() && b_.link->connected(); }));
  EXPECT_TRUE(send(a_, "kept"));
  EXPECT_TRUE(eventually([this] { return b_.saw("kept"); }));
  EXPECT_FALSE(on_loop([this] { return b_.saw("lost"); }));
}

TEST_F(ZmqLinkTest, ConnectsAgainAfterTheConnectingEndDied) {
  open_pair();
  on_loop([this] { b_.link.reset(); });
  EXPECT_TRUE(eventually([this] { return a_.saw("down") && !a_.link->connected(); }));
  open(b_, config(Side::kConnect, NodeId::kB, a_.link->endpoint()));
  ASSERT_TRUE(eventually([this] { return a_.link->connected() && b_.link->connected(); }));
  EXPECT_TRUE(send(b_, "again"));
  EXPECT_TRUE(eventually([this] { return a_.saw("again"); }));
  on_loop([this] { EXPECT_THAT(a_.events, ElementsAre("up", "down", "up", "again")); });
}

TEST_F(ZmqLinkTest, ConnectsAgainAfterTheBindingEndDied) {
  open_pair();
  const auto endpoint = a_.link->endpoint();
  on_loop([this] { a_.link.reset(); });
  EXPECT_TRUE(eventually([this] { return b_.saw("down"); }));
  a_ = End{};
  open(a_, config(Side::kBind, NodeId::kA, endpoint));
  ASSERT_TRUE(eventually([this] { return a_.link->connected() && b_.link->connected(); }));
  EXPECT_TRUE(send(b_, "again"));
  EXPECT_TRUE(send(a_, "welcome"));
  EXPECT_TRUE(eventually([this] { return a_.saw("again") && b_.saw("welcome"); }));
  on_loop([this] { EXPECT_THAT(b_.events, ElementsAre("up", "down", "up", "welcome")); });
}

TEST_F(ZmqLinkTest, QueueIsBoundedAndTellsOfRoom) {
  auto binding = config(Side::kBind, NodeId::kA, "tcp://127.0.0.1:*");
  binding.queue_messages = 4;
  open(a_, binding);
  auto connecting = config(Side::kConnect, NodeId::kB, a_.link->endpoint());
  connecting.queue_messages = 4;
  open(b_, connecting);
  ASSERT_TRUE(eventually([this] { return a_.link->connected() && b_.link->connected(); }));

  // The receiver shares the loop with the sender, and so takes nothing while this floods: what fits is the two queues and the sockets'
  // buffers. A link without bound would take it all.
  constexpr std::size_t kMessageBytes = std::size_t{1} << 20;
  constexpr int kFarTooMany = 4000;
  const auto payload = Frame::copy_of(std::vector<std::byte>(kMessageBytes));
  int taken = 0;
  on_loop([&] {
    for (; taken < kFarTooMany; ++taken) {
      if (auto sent = a_.link->send({text_frame(std::to_string(taken)), payload}); !sent) {
        EXPECT_EQ(sent.error().code(), ErrorCode::kBusy);
        break;
      }
    }
  });
  ASSERT_LT(taken, kFarTooMany);
  EXPECT_TRUE(eventually([this] { return a_.saw("writable"); }));
  EXPECT_TRUE(send(a_, "after"));
  EXPECT_TRUE(eventually([this] { return b_.saw("after"); }));
  on_loop([&] {
    ASSERT_EQ(b_.events.size(), static_cast<std::size_t>(taken) + 2);  // up, each message that was taken, "after"
    for (int i = 0; i < taken; ++i) EXPECT_TRUE(b_.events[static_cast<std::size_t>(i) + 1].starts_with(std::to_string(i) + "|"));
  });
}

TEST_F(ZmqLinkTest, BigFramesAreNotCopiedAndTheirOwnerIsReleased) {
  open(a_, config(Side::kBind, NodeId::kA, "tcp://127.0.0.1:*"));
  open(b_, config(Side::kConnect, NodeId::kB, a_.link->endpoint()), true);
  ASSERT_TRUE(eventually([this] { return a_.link->connected() && b_.link->connected(); }));

  constexpr std::size_t kBytes = std::size_t{8} << 20;
  auto bytes = std::make_shared<std::vector<std::byte>>(kBytes, std::byte{0x5a});
  const std::weak_ptr<std::vector<std::byte>> watch = bytes;
  ASSERT_TRUE(on_loop([&] { return a_.link->send({text_frame("big"), Frame{*bytes, bytes}}); }));
  // Still owned, since it is sent from where it lies.
  bytes.reset();
  ASSERT_TRUE(eventually([this] { return !b_.messages.empty(); }));
  on_loop([&] {
    const auto got = b_.messages[0][1].bytes();
    ASSERT_EQ(got.size(), kBytes);
    EXPECT_TRUE(std::ranges::all_of(got, [](std::byte byte) { return byte == std::byte{0x5a}; }));
  });
  EXPECT_TRUE(eventually([&] { return watch.expired(); }));
}

TEST_F(ZmqLinkTest, AFrameInFlightIsOwnedUntilItIsSent) {
  // While the peer takes nothing, each queued message holds its owner: the bytes were not copied. In the end all are let go.
  const auto small_queue = [](ZmqLinkConfig with) {
    with.queue_messages = 4;
    return with;
  };
  open(a_, small_queue(config(Side::kBind, NodeId::kA, "tcp://127.0.0.1:*")));
  open(b_, small_queue(config(Side::kConnect, NodeId::kB, a_.link->endpoint())));
  ASSERT_TRUE(eventually([this] { return a_.link->connected() && b_.link->connected(); }));
  constexpr std::size_t kBytes = std::size_t{24} << 20;  // more than the sockets buffer
  const auto bytes = std::make_shared<std::vector<std::byte>>(kBytes, std::byte{1});
  std::size_t queued = 0;
  on_loop([&] {
    while (a_.link->send({text_frame("big"), Frame{*bytes, bytes}})) ++queued;
    EXPECT_GE(bytes.use_count(), 1 + 2);  // the test's and the queue's (ZeroMQ counts what has left the queue in steps of half of it)
  });
  EXPECT_TRUE(eventually([&] { return b_.link->counters().messages_received == queued; }));
  EXPECT_TRUE(eventually([&] { return bytes.use_count() == 1; }));
}

TEST_F(ZmqLinkTest, AStrangerTakesNothingOver) {
  open_pair();
  auto stranger = config(Side::kConnect, NodeId::kB, a_.link->endpoint());
  stranger.local_name = link_name(PairId{8}, NodeId::kB);
  open(c_, stranger);
  ASSERT_TRUE(eventually([this] { return c_.link->connected() && a_.link->counters().strangers >= 1; }));
  EXPECT_TRUE(send(c_, "intruder"));
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(send(a_, "for b " + std::to_string(i)));
  EXPECT_TRUE(send(b_, "from b"));
  EXPECT_TRUE(eventually([this] { return a_.link->counters().strangers >= 2 && b_.saw("for b 19") && a_.saw("from b"); }));
  on_loop([this] {
    EXPECT_THAT(a_.events, ElementsAre("up", "from b"));
    EXPECT_THAT(c_.events, ElementsAre("up"));
    EXPECT_EQ(b_.events.size(), 21U);
  });
}

TEST_F(ZmqLinkTest, ASecondConnectionOfThePeerReplacesTheFirst) {
  open_pair();
  open(c_, config(Side::kConnect, NodeId::kB, a_.link->endpoint()));
  ASSERT_TRUE(eventually([this] { return a_.count("up") >= 2; }));
  // The replaced one is told, in order: a break, then the new connection.
  on_loop([this] {
    ASSERT_GE(a_.events.size(), 3U);
    EXPECT_EQ(a_.events[1], "down");
    EXPECT_EQ(a_.events[2], "up");
    EXPECT_GE(a_.link->counters().connections, 2U);
  });
}

TEST_F(ZmqLinkTest, TooLargeAFrameIsDroppedAndAFarLargerOneBreaksTheConnection) {
  auto binding = config(Side::kBind, NodeId::kA, "tcp://127.0.0.1:*");
  binding.max_frame_bytes = 1000;
  open(a_, binding);
  open(b_, config(Side::kConnect, NodeId::kB, a_.link->endpoint()));
  ASSERT_TRUE(eventually([this] { return a_.link->connected() && b_.link->connected(); }));
  EXPECT_TRUE(send(b_, std::string(1001, 'w')));
  EXPECT_TRUE(eventually([this] { return a_.link->counters().oversized == 1; }));
  EXPECT_TRUE(send(b_, std::string(2001, 'x')));
  EXPECT_TRUE(eventually([this] { return b_.saw("down") && a_.saw("down"); }));
  ASSERT_TRUE(eventually([this] { return a_.link->connected() && b_.link->connected(); }));
  EXPECT_TRUE(send(b_, std::string(1000, 'y')));
  EXPECT_TRUE(eventually([this] { return a_.saw(std::string(32, 'y')); }));
  EXPECT_FALSE(on_loop([this] { return a_.saw(std::string(32, 'w')) || a_.saw(std::string(32, 'x')); }));
}

TEST_F(ZmqLinkTest, TooManyFramesAreDroppedWhole) {
  auto binding = config(Side::kBind, NodeId::kA, "tcp://127.0.0.1:*");
  binding.max_frames = 3;
  open(a_, binding);
  open(b_, config(Side::kConnect, NodeId::kB, a_.link->endpoint()));
  ASSERT_TRUE(eventually([this] { return a_.link->connected() && b_.link->connected(); }));
  on_loop([this] {
    EXPECT_TRUE(b_.link->send(Message(4, text_frame("x"))));
    EXPECT_TRUE(b_.link->send(Message(3, text_frame("y"))));
  });
  EXPECT_TRUE(eventually([this] { return a_.saw("y|y|y"); }));
  on_loop([this] {
    EXPECT_THAT(a_.events, ElementsAre("up", "y|y|y"));
    EXPECT_EQ(a_.link->counters().oversized, 1U);
  });
}

TEST_F(ZmqLinkTest, MessagesSentJustBeforeTheEndAreDeliveredBeforeTheBreakIsTold) {
  for (int round = 0; round < 20; ++round) {
    open_pair();
    on_loop([this] {
      EXPECT_TRUE(b_.link->send({text_frame("first")}));
      EXPECT_TRUE(b_.link->send({text_frame("last")}));
    });
    ASSERT_TRUE(eventually([this] { return a_.saw("last"); }));
    on_loop([this] { b_.link.reset(); });
    ASSERT_TRUE(eventually([this] { return a_.saw("down"); }));
    on_loop([this] {
      EXPECT_THAT(a_.events, ElementsAre("up", "first", "last", "down"));
      a_ = End{};
      b_ = End{};
    });
  }
}

TEST_F(ZmqLinkTest, GarbageOnThePortHarmsNobody) {
  open_pair();
  // A socket of another kind, and plain bytes.
  zmq::context_t other;
  zmq::socket_t stream{other, ZMQ_STREAM};
  stream.set(zmq::sockopt::linger, 0);
  stream.connect(a_.link->endpoint());
  zmq::message_t id;
  ASSERT_TRUE(stream.recv(id));
  const std::string garbage(4096, '\xff');
  ASSERT_TRUE(stream.send(zmq::message_t{id.data(), id.size()}, zmq::send_flags::sndmore));
  ASSERT_TRUE(stream.send(zmq::message_t{garbage.data(), garbage.size()}, zmq::send_flags::none));
  EXPECT_TRUE(send(b_, "still here"));
  EXPECT_TRUE(eventually([this] { return a_.saw("still here"); }));
  on_loop([this] { EXPECT_THAT(a_.events, ElementsAre("up", "still here")); });
}

TEST_F(ZmqLinkTest, ManyReconnectionsKeepEventsInOrder) {
  open(a_, config(Side::kBind, NodeId::kA, "tcp://127.0.0.1:*"));
  for (int round = 0; round < 50; ++round) {
    b_ = End{};
    open(b_, config(Side::kConnect, NodeId::kB, a_.link->endpoint()));
    ASSERT_TRUE(eventually([this] { return b_.link->connected() && a_.link->connected(); }));
    (void)send(b_, std::to_string(round));
    if (round % 2 == 0) {
      ASSERT_TRUE(eventually([this, round] { return a_.saw(std::to_string(round)); }));
    }
    on_loop([this] { b_.link.reset(); });
  }
  ASSERT_TRUE(eventually([this] { return !a_.link->connected(); }));
  on_loop([this] {
    bool up = false;
    for (const auto& event : a_.events) {
      if (event == "up") {
        EXPECT_FALSE(std::exchange(up, true));
      } else if (event == "down") {
        EXPECT_TRUE(std::exchange(up, false));
      } else {
        EXPECT_TRUE(up) << event;
      }
    }
    EXPECT_FALSE(up);
  });
}

TEST_F(ZmqLinkTest, BadConfigurationIsOneClearError) {
  const auto text_of_error = [this](const ZmqLinkConfig& with) {
    return on_loop([&] {
      auto made = ZmqLink::create(loop(), context_, with);
      return made ? std::string{"made"} : made.error().text();
    });
  };
  EXPECT_THAT(text_of_error(config(Side::kBind, NodeId::kA, "tcp:/127.0.0.1")),
              testing::StartsWith("link to understudy/7/b: bind tcp:/127.0.0.1: "));
  EXPECT_THAT(text_of_error(config(Side::kConnect, NodeId::kA, "nonsense")), testing::HasSubstr("connect to nonsense: Invalid argument"));
  open(a_, config(Side::kBind, NodeId::kA, "tcp://127.0.0.1:*"));
  EXPECT_THAT(text_of_error(config(Side::kBind, NodeId::kA, a_.link->endpoint())), testing::HasSubstr("Address already in use"));
  auto nameless = config(Side::kBind, NodeId::kA, "tcp://127.0.0.1:*");
  nameless.local_name.clear();
  EXPECT_THAT(text_of_error(nameless), testing::HasSubstr("0 bytes"));
  auto mirror = config(Side::kBind, NodeId::kA, "tcp://127.0.0.1:*");
  mirror.local_name = mirror.peer_name;
  EXPECT_THAT(text_of_error(mirror), testing::HasSubstr("one node is a, the other b"));
}

}  // namespace
}  // namespace understudy
