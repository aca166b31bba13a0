// The PC's real-time clock at ports 0x70 and 0x71: a Mc146818 that runs by guest time, with its interrupt.
//
// Threading: read() and write() on vCPU threads, the timer on the device loop; one lock guards the chip.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

#include "net/base/event_loop.h"
#include "vmm/device.h"
#include "vmm/devices/interrupt_line.h"
#include "vmm/devices/rtc/mc146818.h"
#include "vmm/devices/virtio/fd_watch.h"

namespace understudy {

class Rtc final : public Device {
 public:
  static constexpr std::uint64_t kPortCount = 2;  // index and data
  static constexpr std::uint16_t kStateVersion = 1;

  // Nanoseconds since 1970 on the host, asked once: when a fresh guest starts.
  using HostWallClock = std::function<std::int64_t()>;

  // `memory_bytes` is what the RAM tells of memory. `loop` outlives the device.
  static Result<std::unique_ptr<Rtc>> create(std::string id, EventLoop& loop, std::uint64_t memory_bytes,
                                             HostWallClock host_wall = realtime_ns);
  // Off the loop: after detach(), or when the loop never ran it.
  ~Rtc() override = default;

  const InterruptLine& interrupt() const { return interrupt_; }
  // On the loop, or before it runs: stops for good.
  void detach();

  std::string_view id() const override { return id_; }
  void read(std::uint64_t offset, MutableBytes out) override;
  void write(std::uint64_t offset, ConstBytes in) override;
  Result<void> quiesce() override;
  void resume() override;
  void save(schema::DeviceState::Builder out) const override;
  Result<void> check(schema::DeviceState::Reader in) const override;
  Result<void> restore(schema::DeviceState::Reader in) override;

 private:
  struct State {
    std::int64_t wall_ns = 0;
    std::uint8_t index = 0;
    Mc146818::Registers registers{};
  };
  Rtc(std::string id, EventLoop& loop, std::uint64_t memory_bytes, HostWallClock host_wall, InterruptLine interrupt, UniqueFd timer);
  Result<State> parse(schema::DeviceState::Reader in) const;
  void expired();
  // Under the lock.
  std::int64_t now_ns() const;
  void arm();

  const std::string id_;
  EventLoop& loop_;
  const HostWallClock host_wall_;
  const InterruptLine interrupt_;
  const UniqueFd timer_;  // armed for the next interrupt; by any thread, under the lock, as that does not block
  FdWatch watch_;         // the loop's

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  Mc146818 chip_;
  std::uint8_t index_ = 0;
  bool quiesced_ = true;
  bool started_ = false;        // has run since it was made
  bool restored_ = false;       // and has not run since
  bool raise_due_ = false;      // an edge that quiesce() found, to send when it goes on
  std::int64_t frozen_ns_ = 0;  // guest time while quiesced
  Instant started_at_{};        // guest time 0, once started
};

}  // namespace understudy
