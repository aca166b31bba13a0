// A 16550A UART as PC16550D's data sheet describes it, as far as a driver can see it: characters leave at once, so the transmitter is
// always empty; line errors do not happen.
//
// Threading: read() and write() on vCPU threads, receive() on any thread; one lock guards the registers and is held neither while the sink
// is called nor while the interrupt is raised.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

#include "vmm/device.h"
#include "vmm/devices/interrupt_line.h"

namespace understudy {

class Serial final : public Device {
 public:
  static constexpr std::uint64_t kPortCount = 8;
  static constexpr std::uint16_t kStateVersion = 1;
  // How many characters wait for the guest at most. Deeper than a 16550's 16, which no driver can tell.
  static constexpr std::size_t kInputBytes = 256;

  // Called on a vCPU thread with what the guest sent: cheap, and never blocks.
  using Sink = std::function<void(ConstBytes)>;

  Serial(std::string id, InterruptLine interrupt, Sink sink);

  // Offers characters to the guest; returns how many were taken. The caller offers the rest again later. Takes none while quiesced.
  std::size_t receive(ConstBytes characters);
  const InterruptLine& interrupt() const { return interrupt_; }

  std::string_view id() const override { return id_; }
  void read(std::uint64_t offset, MutableBytes out) override;
  void write(std::uint64_t offset, ConstBytes in) override;
  Result<void> quiesce() override;
  void resume() override;
  void save(schema::DeviceState::Builder out) const override;
  Result<void> check(schema::DeviceState::Reader in) const override;
  Result<void> restore(schema::DeviceState::Reader in) override;

 private:
  struct Registers {
    std::uint8_t interrupt_enable = 0;
    std::uint8_t fifo_control = 0;
    std::uint8_t line_control = 0;
    std::uint8_t modem_control = 0;
    std::uint8_t scratch = 0;
    std::uint16_t divisor = 12;  // 9600 baud
    bool transmit_empty_pending = false;
    bool overrun = false;
    std::array<std::uint8_t, kInputBytes> input{};
    std::size_t input_start = 0;
    std::size_t input_count = 0;
  };
  static Result<Registers> parse(schema::DeviceState::Reader in, std::string_view id);
  std::uint8_t read_register(std::uint64_t offset);
  // Whether the character in `value` leaves through the sink.
  bool write_register(std::uint64_t offset, std::uint8_t value);
  void write_fifo_control(std::uint8_t value);
  bool push_input(std::uint8_t value);
  std::uint8_t interrupt_identification() const;
  std::uint8_t modem_status() const;
  bool interrupt_pending() const;

  const std::string id_;
  const InterruptLine interrupt_;
  const Sink sink_;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  Registers registers_;
  bool raise_due_ = false;  // an edge to send once the lock is released
  bool quiesced_ = true;
};

}  // namespace understudy
