// The vCPUs' side: the register window (4.2.2) and the device status machine (2.1).
#include <algorithm>
#include <bit>
#include <cstring>

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

#include "net/base/check.h"
#include "vmm/devices/virtio/virtio_mmio.h"

namespace understudy {
namespace {

constexpr std::uint32_t kMagic = 0x7472'6976;  // "virt"
constexpr std::uint32_t kVersion = 2;
constexpr std::uint32_t kVendor = 0x5552'5453;  // "STRU"
constexpr std::uint32_t kDriverStatusBits =
    VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED;

constexpr std::uint32_t half_of(std::uint64_t value, std::uint32_t half) {
  return half > 1 ? 0 : static_cast<std::uint32_t>(value >> (32 * half));
}
constexpr void set_half(std::uint64_t& target, std::uint32_t half, std::uint32_t value) {
  if (half > 1) return;
  const unsigned shift = 32 * half;
  target = (target & ~(std::uint64_t{0xFFFF'FFFF} << shift)) | (std::uint64_t{value} << shift);
}

}  // namespace

void VirtioMmio::read(std::uint64_t offset, MutableBytes out) {
  if (offset >= kConfigOffset) {
    const std::lock_guard lock{mutex_};
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::uint64_t at = offset - kConfigOffset + i;
      out[i] = at < config_space_.size() ? config_space_[at] : std::byte{0};
    }
    return;
  }
  // 4.2.2.2: control registers are accessed by aligned words; anything else reads as zero.
  std::uint32_t value = 0;
  const bool word = out.size() == sizeof value && offset % sizeof value == 0;
  if (word && offset == VIRTIO_MMIO_INTERRUPT_STATUS) {
    value = interrupt_status_.load();  // at every interrupt: without the lock
  } else if (word) {
    const std::lock_guard lock{mutex_};
    value = read_register(offset);
  }
  const auto bytes = std::as_bytes(std::span{&value, 1});
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = i < bytes.size() ? bytes[i] : std::byte{0};
}

void VirtioMmio::write(std::uint64_t offset, ConstBytes in) {
  if (offset >= kConfigOffset) return write_config(offset - kConfigOffset, in);
  std::uint32_t value = 0;
  if (in.size() != sizeof value || offset % sizeof value != 0) return;
  std::memcpy(&value, in.data(), sizeof value);
  if (offset == VIRTIO_MMIO_QUEUE_NOTIFY) {
    if (value < queues_.size()) signal(queues_[value]->notify.get());
    return;
  }
  if (offset == VIRTIO_MMIO_INTERRUPT_ACK) {
    interrupt_status_.fetch_and(~value);
    return;
  }
  bool raise = false;
  bool kick = false;
  {
    std::unique_lock lock{mutex_};
    if (offset == VIRTIO_MMIO_STATUS) {
      write_status(lock, value);
    } else if (!reset_pending_) {
      write_register(offset, value);
    }
    raise = std::exchange(raise_due_, false);
    kick = std::exchange(kick_due_, false);
  }
  if (raise) interrupt_.raise();
  if (kick)
    for (const auto& each : queues_) signal(each->notify.get());
}

// 4.2.2.2: a 32-bit field is written by one aligned access. What is not the driver's to write stays.
void VirtioMmio::write_config(std::uint64_t at, ConstBytes in) {
  std::uint32_t value = 0;
  if (in.size() != sizeof value || std::ranges::find(writable_words_, at) == writable_words_.end()) return;
  std::memcpy(&value, in.data(), sizeof value);
  const std::lock_guard lock{mutex_};
  put_config(at, value);
}

std::uint32_t VirtioMmio::config_word(std::size_t offset) const {
  const std::lock_guard lock{mutex_};
  std::uint32_t value = 0;
  US_CHECK(offset + sizeof value <= config_space_.size());
  std::memcpy(&value, config_space_.data() + offset, sizeof value);
  return value;
}

void VirtioMmio::put_config(std::size_t offset, std::uint32_t value) {
  US_CHECK(offset + sizeof value <= config_space_.size());
  std::memcpy(config_space_.data() + offset, &value, sizeof value);
}

void VirtioMmio::change_config_and_tell(std::size_t offset, std::uint32_t value) {
  bool raise = false;
  {
    const std::lock_guard lock{mutex_};
    put_config(offset, value);
    ++config_generation_;
    raise = (status_ & VIRTIO_CONFIG_S_DRIVER_OK) != 0;
    if (raise) interrupt_status_.fetch_or(VIRTIO_MMIO_INT_CONFIG);
  }
  if (raise) interrupt_.raise();
}

std::uint32_t VirtioMmio::read_register(std::uint64_t offset) const {
  const QueueState* const queue = queue_select_ < queues_.size() ? &queues_[queue_select_]->configured : nullptr;
  switch (offset) {
    case VIRTIO_MMIO_MAGIC_VALUE:
      return kMagic;
    case VIRTIO_MMIO_VERSION:
      return kVersion;
    case VIRTIO_MMIO_DEVICE_ID:
      return device_type_;
    case VIRTIO_MMIO_VENDOR_ID:
      return kVendor;
    case VIRTIO_MMIO_DEVICE_FEATURES:
      return half_of(offered_features_, device_features_select_);
    case VIRTIO_MMIO_QUEUE_NUM_MAX:
      return queue != nullptr ? kMaxQueueSize : 0;
    case VIRTIO_MMIO_QUEUE_READY:
      return queue != nullptr && queue->ready ? 1 : 0;
    case VIRTIO_MMIO_STATUS:
      return status_;
    case VIRTIO_MMIO_SHM_LEN_LOW:
    case VIRTIO_MMIO_SHM_LEN_HIGH:
    case VIRTIO_MMIO_SHM_BASE_LOW:
    case VIRTIO_MMIO_SHM_BASE_HIGH:
      return 0xFFFF'FFFF;  // no shared memory region
    case VIRTIO_MMIO_CONFIG_GENERATION:
      return config_generation_;
    default:
      return 0;
  }
}

void VirtioMmio::write_register(std::uint64_t offset, std::uint32_t value) {
  switch (offset) {
    case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
      device_features_select_ = value;
      return;
    case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
      driver_features_select_ = value;
      return;
    case VIRTIO_MMIO_DRIVER_FEATURES:
      // Fixed once agreed on (3.1.1, step 5).
      if ((status_ & VIRTIO_CONFIG_S_FEATURES_OK) == 0) set_half(driver_features_, driver_features_select_, value);
      return;
    case VIRTIO_MMIO_QUEUE_SEL:
      queue_select_ = value;
      return;
    default:
      // Once the driver runs, only a reset changes a queue (VIRTIO_F_RING_RESET is not offered).
      if (queue_select_ < queues_.size() && (status_ & VIRTIO_CONFIG_S_DRIVER_OK) == 0)
        write_queue_register(queues_[queue_select_]->configured, offset, value);
  }
}

void VirtioMmio::write_queue_register(QueueState& queue, std::uint64_t offset, std::uint32_t value) {
  if (offset == VIRTIO_MMIO_QUEUE_READY) {
    queue.ready = (value & 1) != 0;
    return;
  }
  if (queue.ready) return;
  switch (offset) {
    case VIRTIO_MMIO_QUEUE_NUM:
      if (value <= kMaxQueueSize && std::has_single_bit(value)) queue.size = static_cast<std::uint16_t>(value);
      return;
    case VIRTIO_MMIO_QUEUE_DESC_LOW:
      return set_half(queue.descriptors, 0, value);
    case VIRTIO_MMIO_QUEUE_DESC_HIGH:
      return set_half(queue.descriptors, 1, value);
    case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
      return set_half(queue.driver_area, 0, value);
    case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
      return set_half(queue.driver_area, 1, value);
    case VIRTIO_MMIO_QUEUE_USED_LOW:
      return set_half(queue.device_area, 0, value);
    case VIRTIO_MMIO_QUEUE_USED_HIGH:
      return set_half(queue.device_area, 1, value);
    default:
      return;
  }
}

bool VirtioMmio::features_acceptable() const { return (driver_features_ & ~offered_features_) == 0 && negotiated(VIRTIO_F_VERSION_1); }

void VirtioMmio::write_status(std::unique_lock<std::mutex>& lock, std::uint32_t value) {
  // The rings change owner here, so the loop must have its hands off them.
  turn_changed_.wait(lock, [this] { return !in_turn_; });
  if (reset_pending_) return;
  if (value == 0) {
    request_reset(lock);
    return;
  }
  if ((status_ & VIRTIO_CONFIG_S_NEEDS_RESET) != 0) return;
  // 2.1.1: the driver adds bits; it takes them away only by a reset.
  std::uint32_t added = value & ~status_ & kDriverStatusBits;
  if ((added & VIRTIO_CONFIG_S_FEATURES_OK) != 0 && !features_acceptable())
    added &= ~std::uint32_t{VIRTIO_CONFIG_S_FEATURES_OK};  // the driver reads back that it is not set
  if (((status_ | added) & VIRTIO_CONFIG_S_FEATURES_OK) == 0) added &= ~std::uint32_t{VIRTIO_CONFIG_S_DRIVER_OK};
  status_ |= added;
  if ((added & VIRTIO_CONFIG_S_DRIVER_OK) != 0) {
    go_live();
    kick_due_ = true;  // the driver may have filled a queue before
  }
}

}  // namespace understudy
