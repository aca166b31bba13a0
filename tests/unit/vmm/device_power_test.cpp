// The PM1 registers as an ACPI driver uses them, and the button.
#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/vmm/device_rig.h"
#include "vmm/devices/power/power.h"

namespace understudy {
namespace {

constexpr std::uint64_t kStatus = 0;
constexpr std::uint64_t kEnable = 2;
constexpr std::uint64_t kControl = Power::kControlOffset;

class PowerTest : public ::testing::Test {
 protected:
  PowerTest() { power_.resume(); }
  void out(std::uint64_t port, std::uint16_t value) { power_.write(port, std::as_bytes(std::span{&value, 1})); }
  std::uint16_t in(std::uint64_t port) {
    std::uint16_t value = 0;
    power_.read(port, std::as_writable_bytes(std::span{&value, 1}));
    return value;
  }
  bool interrupted() { return drain_fd(power_.interrupt().fd()) != 0; }

  Power power_{"power0", *InterruptLine::create()};
};

TEST_F(PowerTest, TheButtonInterruptsAGuestThatListens) {
  out(kEnable, Power::kButton);
  EXPECT_FALSE(interrupted());
  EXPECT_TRUE(power_.press_button());
  EXPECT_TRUE(interrupted());
  EXPECT_EQ(in(kStatus), Power::kButton);
  out(kStatus, Power::kButton);
  EXPECT_EQ(in(kStatus), 0);
  EXPECT_FALSE(interrupted()) << "taken";
  EXPECT_TRUE(power_.press_button());
  EXPECT_TRUE(interrupted()) << "a second press is a second interrupt";
}

TEST_F(PowerTest, APressWaitsForAGuestThatDoesNotListenYet) {
  EXPECT_FALSE(power_.press_button());
  EXPECT_FALSE(interrupted());
  EXPECT_EQ(in(kStatus), Power::kButton);
  out(kEnable, Power::kButton);
  EXPECT_TRUE(interrupted());
}

TEST_F(PowerTest, APressWhileTheGuestClearsAnotherIsNotLost) {
  out(kEnable, Power::kButton);
  power_.press_button();
  EXPECT_TRUE(interrupted());
  out(kStatus, static_cast<std::uint16_t>(~Power::kButton));  // clears everything else
  EXPECT_TRUE(interrupted()) << "still pending, and the line is an edge";
}

TEST_F(PowerTest, RegistersAreAsDriversReadThem) {
  EXPECT_EQ(in(kControl), Power::kSciEnabled) << "ACPI is on from the start";
  out(kControl, 0xFFFF);
  EXPECT_EQ(in(kControl), Power::kSleepTypeMask | 1 << 1 | Power::kSciEnabled);
  out(kControl, 0);
  EXPECT_EQ(in(kControl), Power::kSciEnabled);
  out(kEnable, 0xFFFF);
  EXPECT_EQ(in(kEnable), 0x0721) << "a driver that enables an event reads it back";
  EXPECT_EQ(in(kStatus), 0) << "of what nobody raises, nothing is set";
  // Byte by byte, and all at once.
  const std::byte high{0x01};
  power_.write(kEnable + 1, {&high, 1});
  EXPECT_EQ(in(kEnable), 0x0121);
  power_.press_button();
  std::uint32_t both = 0;
  power_.read(kStatus, std::as_writable_bytes(std::span{&both, 1}));
  EXPECT_EQ(both, 0x0121'0100U);
  std::uint64_t beyond = 0;
  power_.read(kControl, std::as_writable_bytes(std::span{&beyond, 1}));
  EXPECT_EQ(beyond, 0xFFFF'FFFF'FFFF'0001ULL);
}

TEST_F(PowerTest, AQuiescedDeviceKeepsThePressForLater) {
  out(kEnable, Power::kButton);
  ASSERT_TRUE(power_.quiesce());
  EXPECT_TRUE(power_.press_button());
  EXPECT_FALSE(interrupted());
  power_.resume();
  EXPECT_TRUE(interrupted());
  ASSERT_TRUE(power_.quiesce());
  power_.resume();
  EXPECT_TRUE(interrupted()) << "as long as it is pending";
}

TEST_F(PowerTest, ATwinRaisesWhatIsPendingAndRefusesForeignBits) {
  out(kEnable, Power::kButton);
  power_.press_button();
  ASSERT_TRUE(power_.quiesce());
  capnp::MallocMessageBuilder message;
  auto state = message.initRoot<schema::DeviceState>();
  power_.save(state);
  Power twin{"power0", *InterruptLine::create()};
  ASSERT_TRUE(twin.restore(state.asReader()));
  EXPECT_EQ(drain_fd(twin.interrupt().fd()), 0U) << "not before it runs";
  twin.resume();
  EXPECT_EQ(drain_fd(twin.interrupt().fd()), 1U);

  Power other{"power0", *InterruptLine::create()};
  for (const unsigned word : {0U, 1U, 2U}) {
    power_.save(state);
    state.getState().getAs<capnp::AnyStruct>().getDataSection()[word * 2] ^= 0x80;
    const auto refused = other.check(state.asReader());
    ASSERT_FALSE(refused) << word;
    EXPECT_EQ(refused.error().code(), ErrorCode::kCorrupt);
  }
}

}  // namespace
}  // namespace understudy
