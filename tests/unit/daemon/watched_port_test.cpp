// What the daemon notices on the guest's port.
#include "failover/daemon/watched_port.h"

#include <deque>
#include <vector>

#include <gtest/gtest.h>

#include "net/base/log.h"

namespace understudy {
namespace {

constexpr MacAddress kGuestMac{{0x52, 0x54, 0, 0x12, 0x34, 0x56}};

class ScriptedPort final : public PacketPort {
 public:
  bool offloads() const override { return false; }
  Result<void> set_receive_offloads(const Offloads&) override { return {}; }
  Result<void> send(const FrameOffload&, std::span<const std::byte>) override {
    if (down) return Error{ErrorCode::kUnavailable, "down"};
    return {};
  }
  Result<std::optional<ReceivedFrame>> receive(std::span<std::byte> buffer) override {
    if (down) return Error{ErrorCode::kUnavailable, "down"};
    if (waiting.empty()) return std::optional<ReceivedFrame>{};
    const auto frame = waiting.front();
    waiting.pop_front();
    std::copy(frame.begin(), frame.end(), buffer.begin());
    return std::optional{ReceivedFrame{.bytes = frame.size(), .offload = {}}};
  }
  int fd() const override { return -1; }

  bool down = false;
  std::deque<std::vector<std::byte>> waiting;
};

std::vector<std::byte> frame_from(const MacAddress& source) {
  std::vector<std::byte> frame(60);
  for (std::size_t i = 0; i < 6; ++i) frame[6 + i] = static_cast<std::byte>(source.octets[i]);
  return frame;
}

TEST(WatchedPort, AFrameThatClaimsToBeOurGuestsIsToldAndKeptFromIt) {
  auto scripted = std::make_unique<ScriptedPort>();
  ScriptedPort& inner = *scripted;
  int told = 0;
  WatchedPort port{std::move(scripted), kGuestMac, [&] { ++told; }};
  inner.waiting = {frame_from(kGuestMac), frame_from(MacAddress{{2, 0, 0, 0, 0, 9}})};
  std::vector<std::byte> buffer(2048);
  const auto received = port.receive(buffer);
  ASSERT_TRUE(received && *received);
  EXPECT_EQ(buffer[11], std::byte{9}) << "the other frame comes through";
  EXPECT_EQ(told, 1);
  const auto none = port.receive(buffer);
  ASSERT_TRUE(none);
  EXPECT_FALSE(*none);
}

std::vector<std::string>& logged() {
  static std::vector<std::string> lines;
  return lines;
}

TEST(WatchedPort, APortThatFailsIsToldOnceAndAgainWhenItWorks) {
  auto scripted = std::make_unique<ScriptedPort>();
  ScriptedPort& inner = *scripted;
  WatchedPort port{std::move(scripted), kGuestMac, [] {}};
  logged().clear();
  set_log_sink([](Severity, std::string_view event, std::initializer_list<LogField> fields) {
    logged().emplace_back(event);
    for (const auto& field : fields) logged().back() += " " + std::string{field.key} + "=" + field.value;
  });
  inner.down = true;
  std::vector<std::byte> buffer(2048);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(port.send({}, frame_from(kGuestMac)).error().code(), ErrorCode::kUnavailable);
    EXPECT_EQ(port.receive(buffer).error().code(), ErrorCode::kUnavailable);
  }
  inner.down = false;
  EXPECT_TRUE(port.send({}, frame_from(kGuestMac)));
  EXPECT_TRUE(port.send({}, frame_from(kGuestMac)));
  set_log_sink(nullptr);
  ASSERT_EQ(logged().size(), 3u);
  EXPECT_EQ(logged()[0], "the guest's frames can't leave the host reason=down");
  EXPECT_NE(logged()[1].find("restart this daemon"), std::string::npos);
  EXPECT_EQ(logged()[2], "the guest's frames leave the host again lost_frames=3");
}

TEST(WatchedPort, TheFirstFrameThatReallyLeftIsToldOnce) {
  auto scripted = std::make_unique<ScriptedPort>();
  ScriptedPort& inner = *scripted;
  WatchedPort port{std::move(scripted), kGuestMac, [] {}};
  int told = 0;
  port.arm_first_send([&] { ++told; });
  inner.down = true;
  EXPECT_FALSE(port.send({}, frame_from(kGuestMac)));
  EXPECT_EQ(told, 0);
  inner.down = false;
  EXPECT_TRUE(port.send({}, frame_from(kGuestMac)));
  EXPECT_TRUE(port.send({}, frame_from(kGuestMac)));
  EXPECT_EQ(told, 1);
}

}  // namespace
}  // namespace understudy
