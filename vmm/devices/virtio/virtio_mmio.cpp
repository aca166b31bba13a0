// The loop's side: turns, notifications, and how the device stops and goes on.
#include "vmm/devices/virtio/virtio_mmio.h"

#include <algorithm>
#include <unistd.h>
#include <utility>

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <sys/eventfd.h>

#include "net/base/check.h"
#include "net/base/log.h"

namespace understudy {
namespace {

constexpr std::uint64_t kTransportFeatures =
    (std::uint64_t{1} << VIRTIO_F_VERSION_1) | (std::uint64_t{1} << kFeatureEventIndex) | (std::uint64_t{1} << kFeatureIndirect);

}  // namespace

Result<VirtioMmio::Host> VirtioMmio::make_host(unsigned queue_count) {
  US_ASSIGN(auto interrupt, InterruptLine::create());
  std::vector<UniqueFd> notify;
  for (unsigned i = 0; i < queue_count; ++i) {
    notify.emplace_back(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!notify.back()) return Error::from_errno("create a queue notification: eventfd");
  }
  return Host{std::move(interrupt), std::move(notify)};
}

VirtioMmio::VirtioMmio(VirtioSlot slot, Host host, Identity identity)
    : slot_{std::move(slot)},
      interrupt_{std::move(host.interrupt)},
      device_type_{identity.device_type},
      offered_features_{identity.features | kTransportFeatures},
      writable_words_{std::move(identity.writable_words)},
      config_space_{std::move(identity.config_space)} {
  for (const std::size_t offset : writable_words_) US_CHECK(offset + sizeof(std::uint32_t) <= config_space_.size());
  for (unsigned i = 0; i < host.notify.size(); ++i)
    queues_.push_back(std::make_unique<Queue>(*slot_.loop, std::move(host.notify[i]), *slot_.memory, [this, i] { on_notified(i); }));
}

VirtioMmio::~VirtioMmio() = default;

void VirtioMmio::signal(int eventfd) {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, which still reads as signalled.
  [[maybe_unused]] const auto written = ::write(eventfd, &one, sizeof one);
}

void VirtioMmio::drain(int eventfd) {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(eventfd, &count, sizeof count);
}

bool VirtioMmio::begin_turn() {
  const std::lock_guard lock{mutex_};
  if (quiesced_) return false;
  US_CHECK(!in_turn_);
  in_turn_ = true;
  return true;
}

void VirtioMmio::end_turn() {
  bool raise = false;
  {
    const std::lock_guard lock{mutex_};
    in_turn_ = false;
    if (std::exchange(interrupt_due_, false) && live_) {
      interrupt_status_.fetch_or(VIRTIO_MMIO_INT_VRING);
      raise = true;
    }
    if (std::exchange(failed_, false) && live_) need_reset();
    if (reset_pending_ && !requests_in_flight()) finish_reset();
    raise |= std::exchange(raise_due_, false);
  }
  turn_changed_.notify_all();
  if (raise) interrupt_.raise();
}

void VirtioMmio::fail(const char* what, const char* why) {
  failed_ = true;
  log(Severity::kWarning, "guest driver broke virtio's rules, device needs a reset", {{"device", slot_.id}, {"what", what}, {"why", why}});
}

void VirtioMmio::change_config(std::size_t offset, ConstBytes bytes) {
  const std::lock_guard lock{mutex_};
  US_CHECK(offset <= config_space_.size() && bytes.size() <= config_space_.size() - offset);
  std::copy(bytes.begin(), bytes.end(), config_space_.begin() + static_cast<std::ptrdiff_t>(offset));
  ++config_generation_;
}

void VirtioMmio::tell_driver_of_config() {
  const std::lock_guard lock{mutex_};
  if (!live_) return;
  interrupt_status_.fetch_or(VIRTIO_MMIO_INT_CONFIG);
  raise_due_ = true;
}

void VirtioMmio::on_notified(unsigned index) {
  drain(queues_[index]->notify.get());
  Turn turn{*this};
  // A notification while quiesced is not lost: resume() looks at every queue.
  if (turn && runs(index)) work(index);
}

Result<void> VirtioMmio::quiesce() {
  {
    const std::lock_guard lock{mutex_};
    US_CHECK(!in_turn_);
    quiesced_ = true;
  }
  on_quiesce();
  return {};
}

void VirtioMmio::resume() {
  {
    const std::lock_guard lock{mutex_};
    if (!std::exchange(quiesced_, false)) return;
  }
  for (auto& each : queues_) each->watch.arm();
  Turn turn{*this};
  US_CHECK(turn);
  // Whatever the driver was told before the state was saved, it is told again: a superfluous interrupt finds nothing to do.
  if (std::exchange(restored_, false)) interrupt_due_ = true;
  on_resume();
  for (unsigned i = 0; i < queue_count(); ++i)
    if (runs(i)) work(i);
}

void VirtioMmio::detach() {
  US_CHECK(quiesce().has_value());
  for (auto& each : queues_) each->watch.disarm();
  on_detach();
}

void VirtioMmio::go_live() {
  const bool event_index = negotiated(kFeatureEventIndex);
  const bool indirect = negotiated(kFeatureIndirect);
  live_ = true;
  for (auto& each : queues_) {
    if (each->configured.ready && !each->ring.activate(each->configured, event_index, indirect)) {
      need_reset();
      return;
    }
  }
}

void VirtioMmio::need_reset() {
  live_ = false;
  for (auto& each : queues_) each->ring.deactivate();
  status_ |= VIRTIO_CONFIG_S_NEEDS_RESET;
  // 2.1.2: the driver learns of it by a configuration change notification.
  interrupt_status_.fetch_or(VIRTIO_MMIO_INT_CONFIG);
  raise_due_ = true;
}

void VirtioMmio::request_reset(std::unique_lock<std::mutex>& lock) {
  live_ = false;
  for (auto& each : queues_) each->ring.deactivate();
  if (!requests_in_flight()) {
    finish_reset();
    return;
  }
  // A read in flight may still write the driver's memory, so the reset is not over: the status stays as it is until the backend is done.
  // Drivers poll for zero (2.4.2); Linux's over MMIO does not, so a healthy disk gets a moment before this register write returns.
  constexpr auto kPatience = std::chrono::milliseconds{20};
  reset_pending_ = true;
  turn_changed_.wait_for(lock, kPatience, [this] { return !reset_pending_; });
}

void VirtioMmio::finish_reset() {
  status_ = device_features_select_ = driver_features_select_ = queue_select_ = 0;
  driver_features_ = 0;
  live_ = reset_pending_ = false;
  for (auto& each : queues_) {
    each->ring.deactivate();
    each->configured = {};
  }
  interrupt_status_ = 0;
  on_reset();
}

}  // namespace understudy
