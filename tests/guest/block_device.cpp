#include "tests/guest/block_device.h"

#include "tests/guest/report.h"

namespace understudy::guest {
namespace {

constexpr std::uint64_t kReadOnly = 1 << 5;
constexpr std::uint64_t kCanFlush = 1 << 9;
constexpr std::uint8_t kStatusUnset = 0xff;

}  // namespace

void BlockDevice::start(VirtioMmio transport, CpuBlock& cpu) {
  transport_ = transport;
  cpu_ = &cpu;
  const std::uint64_t features = transport_.negotiate(kReadOnly | kCanFlush | VirtioMmio::kEventIndex);
  if ((features & kCanFlush) == 0) refuse("the disk cannot flush", 0);
  transport_.set_up_queue(0, queue_, memory_, (features & VirtioMmio::kEventIndex) != 0);
  sectors_ = transport_.config32(0) | std::uint64_t{transport_.config32(4)} << 32;
  if ((features & kReadOnly) != 0) sectors_ = 0;  // nothing to log to
  transport_.set_driver_ok();
}

void BlockDevice::submit(Operation operation, std::uint64_t sector, void* data, std::uint32_t bytes) {
  std::size_t index = 0;
  while (index < kSlots && slots_[index].in_flight) ++index;
  if (index == kSlots) violation("more disk requests than slots", {});
  Slot& slot = slots_[index];
  slot.header = {operation, 0, sector};
  slot.status = kStatusUnset;
  std::array<Virtqueue::Segment, 3> segments{};
  std::size_t count = 0;
  segments[count++] = {reinterpret_cast<std::uint64_t>(&slot.header), sizeof slot.header, false};
  if (bytes != 0) segments[count++] = {reinterpret_cast<std::uint64_t>(data), bytes, operation == kRead};
  segments[count++] = {reinterpret_cast<std::uint64_t>(&slot.status), 1, true};
  const auto head = queue_.add(std::span{segments}.first(count));
  if (!head) violation("no disk descriptors are free", {});
  slot.head = *head;
  slot.in_flight = true;
  ++in_flight_;
}

void BlockDevice::reap() {
  while (const auto completed = queue_.take()) {
    for (auto& slot : slots_) {
      if (!slot.in_flight || slot.head != completed->head) continue;
      if (slot.status != 0)
        violation("a disk request failed",
                  {{" operation=", slot.header.operation}, {" sector=", slot.header.sector}, {" status=", slot.status}});
      slot.in_flight = false;
      --in_flight_;
      break;
    }
  }
  if (queue_.broken()) violation("the disk's used ring names a chain that is not in flight", {});
}

void BlockDevice::wait_all() {
  if (queue_.publish()) transport_.notify(0);
  for (;;) {
    const std::uint64_t seen = cpu_->wakeups;
    reap();
    if (in_flight_ == 0) return;
    if (queue_.ask_interrupt()) continue;
    guest_wait(&cpu_->wakeups, seen);
    transport_.acknowledge_interrupt();
  }
}

}  // namespace understudy::guest
