#include <string>

#include <capnp/message.h>
#include <gtest/gtest.h>
#include <linux/serial_reg.h>

#include "tests/unit/vmm/device_rig.h"
#include "vmm/devices/serial/serial.h"

namespace understudy {
namespace {

class SerialTest : public ::testing::Test {
 protected:
  SerialTest() { serial_.resume(); }
  static InterruptLine line() { return *InterruptLine::create(); }
  std::uint8_t in(std::uint64_t port) {
    std::byte value{};
    serial_.read(port, {&value, 1});
    return static_cast<std::uint8_t>(value);
  }
  void out(std::uint64_t port, std::uint8_t value) {
    const auto byte = static_cast<std::byte>(value);
    serial_.write(port, {&byte, 1});
  }
  std::size_t type(std::string_view text) { return serial_.receive(std::as_bytes(std::span{text})); }
  bool interrupted() { return drain_fd(serial_.interrupt().fd()) > 0; }

  std::string sent_;
  Serial serial_{"serial0", line(), [this](ConstBytes bytes) {
                   for (const auto byte : bytes) sent_.push_back(static_cast<char>(byte));
                 }};
};

TEST_F(SerialTest, SendsWhatIsWrittenAndIsAlwaysReadyForMore) {
  for (const char c : std::string{"boot\n"}) {
    EXPECT_EQ(in(UART_LSR) & (UART_LSR_THRE | UART_LSR_TEMT), UART_LSR_THRE | UART_LSR_TEMT);
    out(UART_TX, static_cast<std::uint8_t>(c));
  }
  EXPECT_EQ(sent_, "boot\n");
  EXPECT_FALSE(interrupted());
}

TEST_F(SerialTest, DivisorLatchHidesDataAndInterruptEnable) {
  out(UART_IER, UART_IER_RDI);
  out(UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
  out(UART_DLL, 0x34);
  out(UART_DLM, 0x12);
  EXPECT_EQ(in(UART_DLL), 0x34);
  EXPECT_EQ(in(UART_DLM), 0x12);
  out(UART_LCR, UART_LCR_WLEN8);
  EXPECT_EQ(in(UART_IER), UART_IER_RDI);
  EXPECT_EQ(sent_, "");
}

// What Linux's 8250 driver probes for.
TEST_F(SerialTest, LooksLikeA16550AToADriversProbe) {
  out(UART_IER, 0xFF);
  EXPECT_EQ(in(UART_IER), 0x0F);
  out(UART_IER, 0);
  EXPECT_EQ(in(UART_IER), 0);
  out(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
  EXPECT_EQ(in(UART_MSR)&0xF0, UART_MSR_DCD | UART_MSR_CTS);
  out(UART_MCR, 0);
  EXPECT_EQ(in(UART_MSR)&0xF0, UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
  out(UART_FCR, UART_FCR_ENABLE_FIFO);
  EXPECT_EQ(in(UART_IIR) >> 6, 3);
  out(UART_FCR, 0);
  EXPECT_EQ(in(UART_IIR) >> 6, 0);
  out(UART_SCR, 0xA5);
  EXPECT_EQ(in(UART_SCR), 0xA5);
}

TEST_F(SerialTest, LoopbackReceivesWhatItSends) {
  out(UART_MCR, UART_MCR_LOOP);
  out(UART_TX, 'x');
  EXPECT_EQ(sent_, "");
  EXPECT_EQ(in(UART_LSR)&UART_LSR_DR, UART_LSR_DR);
  EXPECT_EQ(in(UART_RX), 'x');
  EXPECT_EQ(type("line"), 0u) << "the line is cut off in loopback";
  for (std::size_t i = 0; i <= Serial::kInputBytes; ++i) out(UART_TX, 'y');
  EXPECT_EQ(in(UART_LSR)&UART_LSR_OE, UART_LSR_OE);
  EXPECT_EQ(in(UART_LSR)&UART_LSR_OE, 0) << "reading it clears it";
}

TEST_F(SerialTest, TransmitInterruptComesWithEachEmptyRegisterAndGoesWhenRead) {
  out(UART_IER, UART_IER_THRI);
  EXPECT_TRUE(interrupted()) << "enabled while empty";
  EXPECT_EQ(in(UART_IIR)&0x0F, UART_IIR_THRI);
  EXPECT_EQ(in(UART_IIR)&0x0F, UART_IIR_NO_INT);
  out(UART_TX, 'a');
  EXPECT_TRUE(interrupted());
  EXPECT_EQ(in(UART_IIR)&0x0F, UART_IIR_THRI);
  // Off and on again: Linux tests that it comes back.
  out(UART_IER, 0);
  out(UART_IER, UART_IER_THRI);
  EXPECT_TRUE(interrupted());
  EXPECT_EQ(in(UART_IIR)&0x0F, UART_IIR_THRI);
}

TEST_F(SerialTest, InputInterruptsAndStaysPendingUntilRead) {
  EXPECT_EQ(type("ok"), 2u);
  EXPECT_FALSE(interrupted()) << "not enabled yet";
  out(UART_IER, UART_IER_RDI | UART_IER_THRI);
  EXPECT_TRUE(interrupted());
  EXPECT_EQ(in(UART_IIR)&0x0F, UART_IIR_RDI) << "before the transmitter's";
  EXPECT_EQ(in(UART_RX), 'o');
  EXPECT_EQ(in(UART_IIR)&0x0F, UART_IIR_RDI);
  EXPECT_EQ(in(UART_RX), 'k');
  EXPECT_EQ(in(UART_IIR)&0x0F, UART_IIR_THRI);
  EXPECT_EQ(in(UART_LSR)&UART_LSR_DR, 0);
  EXPECT_EQ(in(UART_RX), 0);
  EXPECT_EQ(type("!"), 1u);
  EXPECT_TRUE(interrupted());
}

TEST_F(SerialTest, TakesInputAsFarAsThereIsRoomAndNoneWhileQuiesced) {
  const std::string much(Serial::kInputBytes + 10, 'z');
  EXPECT_EQ(type(much), Serial::kInputBytes);
  EXPECT_EQ(type("more"), 0u);
  out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
  EXPECT_EQ(type("more"), 4u);
  ASSERT_TRUE(serial_.quiesce());
  EXPECT_EQ(type("even more"), 0u);
  serial_.resume();
  EXPECT_EQ(type("even more"), 9u);
}

TEST_F(SerialTest, WideAndStrayAccessesDoNoHarm) {
  std::uint64_t wide = 0;
  serial_.read(0, std::as_writable_bytes(std::span{&wide, 1}));
  serial_.read(6, std::as_writable_bytes(std::span{&wide, 1}));
  EXPECT_EQ(wide >> 16, 0xFFFFFFFFFFFFu) << "past the last register";
  wide = 0x4100000000000041;
  serial_.write(7, std::as_bytes(std::span{&wide, 1}));
  EXPECT_EQ(in(UART_SCR), 0x41);
  EXPECT_EQ(sent_, "");
}

TEST_F(SerialTest, RestoredTwinRaisesWhatWasPending) {
  out(UART_IER, UART_IER_RDI);
  type("in");
  ASSERT_TRUE(serial_.quiesce());
  capnp::MallocMessageBuilder message;
  auto saved = message.initRoot<schema::DeviceState>();
  serial_.save(saved);

  Serial twin{"serial0", line(), {}};
  ASSERT_TRUE(twin.restore(saved.asReader()));
  EXPECT_EQ(drain_fd(twin.interrupt().fd()), 0u) << "not before resume()";
  twin.resume();
  EXPECT_EQ(drain_fd(twin.interrupt().fd()), 1u);
  std::byte value{};
  twin.read(UART_RX, {&value, 1});
  EXPECT_EQ(value, std::byte{'i'});
}

}  // namespace
}  // namespace understudy
