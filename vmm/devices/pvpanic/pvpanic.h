// The paravirtual panic notifier: one byte-wide port by which a guest tells its end (QEMU, docs/specs/pvpanic, "ISA Interface").
//
// Threading: read() and write() on vCPU threads; one lock guards the state and is not held while the sink is called.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

#include "vmm/device.h"

namespace understudy {

class Pvpanic final : public Device {
 public:
  static constexpr std::uint64_t kPort = 0x505;
  static constexpr std::uint64_t kPortCount = 1;
  static constexpr std::uint16_t kStateVersion = 1;
  // "Bit Definition".
  static constexpr std::uint8_t kPanicked = 1;     // the host is to act
  static constexpr std::uint8_t kCrashLoaded = 2;  // the guest handles it itself (kdump); the host only records it
  static constexpr std::uint8_t kShutdown = 4;     // a regular shutdown, for the host to carry out
  static constexpr std::uint8_t kKnown = kPanicked | kCrashLoaded | kShutdown;

  // Called on a vCPU thread with the bits that this guest had not told before: cheap, never blocks. So at most three times a boot.
  using Sink = std::function<void(std::uint8_t news)>;

  Pvpanic(std::string id, Sink sink);

  std::string_view id() const override { return id_; }
  void read(std::uint64_t offset, MutableBytes out) override;
  void write(std::uint64_t offset, ConstBytes in) override;
  Result<void> quiesce() override { return {}; }  // it does nothing by itself
  void resume() override {}
  void save(schema::DeviceState::Builder out) const override;
  Result<void> check(schema::DeviceState::Reader in) const override;
  Result<void> restore(schema::DeviceState::Reader in) override;

 private:
  struct Told {
    std::uint8_t bits = 0;
    std::uint32_t notifications = 0;
  };
  static Result<Told> parse(schema::DeviceState::Reader in, std::string_view id);

  const std::string id_;
  const Sink sink_;

  mutable std::mutex mutex_;
  Told told_;  // guarded by mutex_
};

}  // namespace understudy
