// ACPI's fixed power hardware with the power button: the PM1a event and control registers (ACPI 6.4, 4.8.3.1 and 4.8.3.2).
//
// Entering S5 is not here: a vCPU ends the guest before its write reaches a device (machine_event.h).
//
// Threading: read() and write() on vCPU threads, press_button() on any thread; one lock guards the registers and is not held while the
// interrupt is raised.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "vmm/device.h"
#include "vmm/devices/interrupt_line.h"

namespace understudy {

class Power final : public Device {
 public:
  // From the first port on: status (2 bytes), enable (2), control (2).
  static constexpr std::uint64_t kPortCount = 6;
  static constexpr std::uint64_t kControlOffset = 4;
  static constexpr std::uint16_t kStateVersion = 1;

  static constexpr std::uint16_t kButton = 1 << 8;  // in status and enable
  static constexpr std::uint16_t kSciEnabled = 1 << 0;
  static constexpr std::uint16_t kSleepTypeMask = 7 << 10;

  Power(std::string id, InterruptLine interrupt);

  // One press and release. False: the guest does not listen (no ACPI, or not yet); the press waits in the status all the same. While
  // quiesced the interrupt waits for resume().
  bool press_button();
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
    std::uint16_t status = 0;
    std::uint16_t enable = 0;
    std::uint16_t control = 0;  // without kSciEnabled, which always reads one
    bool interrupt_pending() const { return (status & enable) != 0; }
  };
  static Result<Registers> parse(schema::DeviceState::Reader in, std::string_view id);
  std::uint8_t read_register(std::uint64_t offset) const;
  void write_register(std::uint64_t offset, std::uint8_t value);

  const std::string id_;
  const InterruptLine interrupt_;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  Registers registers_;
  bool quiesced_ = true;
};

}  // namespace understudy
