// The transport's part of a device's saved state: what is written, and what is believed of it.
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

#include "net/base/check.h"
#include "vmm/devices/virtio/virtio_mmio.h"

namespace understudy {
namespace {

bool driver_runs(std::uint32_t status, bool reset_pending) {
  return (status & VIRTIO_CONFIG_S_DRIVER_OK) != 0 && (status & VIRTIO_CONFIG_S_NEEDS_RESET) == 0 && !reset_pending;
}

}  // namespace

void VirtioMmio::save_transport(schema::VirtioTransportState::Builder out) const {
  const std::lock_guard lock{mutex_};
  US_CHECK(quiesced_ && !in_turn_);
  out.setStatus(status_);
  out.setDeviceFeaturesSelect(device_features_select_);
  out.setDriverFeaturesSelect(driver_features_select_);
  out.setDriverFeatures(driver_features_);
  out.setQueueSelect(queue_select_);
  out.setInterruptStatus(interrupt_status_.load());
  out.setResetPending(reset_pending_);
  out.setConfigGeneration(config_generation_);
  auto queues = out.initQueues(queue_count());
  for (unsigned i = 0; i < queue_count(); ++i) {
    const QueueState& configured = queues_[i]->configured;
    const Virtqueue& ring = queues_[i]->ring;
    queues[i].setSize(configured.size);
    queues[i].setReady(configured.ready);
    queues[i].setDescriptors(configured.descriptors);
    queues[i].setDriverArea(configured.driver_area);
    queues[i].setDeviceArea(configured.device_area);
    queues[i].setNextAvailable(ring.active() ? ring.next_available() : configured.next_available);
    queues[i].setNextUsed(ring.active() ? ring.next_used() : configured.next_used);
  }
}

Result<VirtioMmio::TransportState> VirtioMmio::parse_transport(schema::VirtioTransportState::Reader in) const {
  constexpr std::uint32_t kStatusBits = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
                                        VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED | VIRTIO_CONFIG_S_NEEDS_RESET;
  TransportState state{.status = in.getStatus(),
                       .device_features_select = in.getDeviceFeaturesSelect(),
                       .driver_features_select = in.getDriverFeaturesSelect(),
                       .driver_features = in.getDriverFeatures(),
                       .queue_select = in.getQueueSelect(),
                       .interrupt_status = in.getInterruptStatus(),
                       .reset_pending = in.getResetPending(),
                       .config_generation = in.getConfigGeneration(),
                       .queues = {}};
  if ((state.status & ~kStatusBits) != 0)
    return Error{ErrorCode::kCorrupt, "device status " + std::to_string(state.status) + " has bits that do not exist"};
  if ((state.interrupt_status & ~std::uint32_t{VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG}) != 0)
    return Error{ErrorCode::kCorrupt, "interrupt status " + std::to_string(state.interrupt_status) + " has bits that do not exist"};
  if ((state.status & VIRTIO_CONFIG_S_DRIVER_OK) != 0 && (state.status & VIRTIO_CONFIG_S_FEATURES_OK) == 0)
    return Error{ErrorCode::kCorrupt, "the driver runs without agreed features"};
  if ((state.status & VIRTIO_CONFIG_S_FEATURES_OK) != 0 &&
      ((state.driver_features & ~offered_features_) != 0 || (state.driver_features >> VIRTIO_F_VERSION_1 & 1) == 0))
    return Error{ErrorCode::kInvalid, "its driver uses features " + std::to_string(state.driver_features) + ", this device offers " +
                                          std::to_string(offered_features_)};
  const auto queues = in.getQueues();
  if (queues.size() != queue_count())
    return Error{ErrorCode::kInvalid, "it has " + std::to_string(queues.size()) + " queues, this device " + std::to_string(queue_count())};
  for (const auto queue : queues) {
    state.queues.push_back({.size = queue.getSize(),
                            .ready = queue.getReady(),
                            .descriptors = queue.getDescriptors(),
                            .driver_area = queue.getDriverArea(),
                            .device_area = queue.getDeviceArea(),
                            .next_available = queue.getNextAvailable(),
                            .next_used = queue.getNextUsed()});
    const QueueState& parsed = state.queues.back();
    if (parsed.ready && driver_runs(state.status, state.reset_pending)) US_TRY(Virtqueue::check(*slot_.memory, parsed));
  }
  return state;
}

void VirtioMmio::restore_config(const std::vector<std::pair<std::size_t, std::uint32_t>>& words) {
  const std::lock_guard lock{mutex_};
  US_CHECK(quiesced_);
  for (const auto& [offset, value] : words) put_config(offset, value);
}

void VirtioMmio::restore_transport(const TransportState& state) {
  const std::lock_guard lock{mutex_};
  US_CHECK(quiesced_ && !in_turn_ && state.queues.size() == queues_.size());
  status_ = state.status;
  device_features_select_ = state.device_features_select;
  driver_features_select_ = state.driver_features_select;
  driver_features_ = state.driver_features;
  queue_select_ = state.queue_select;
  interrupt_status_ = state.interrupt_status;
  reset_pending_ = state.reset_pending;
  config_generation_ = state.config_generation;
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    queues_[i]->configured = state.queues[i];
    queues_[i]->ring.deactivate();
  }
  live_ = false;
  if (driver_runs(status_, reset_pending_)) {
    go_live();
    US_CHECK(live_);  // the queues were checked
  }
  // An edge that was on its way when the state was saved is in nobody's state: resume() sends it again.
  raise_due_ = state.interrupt_status != 0;
  restored_ = true;
}

}  // namespace understudy
