// The device's making, its driver's choices, and its state.
#include "vmm/devices/net/net.h"

#include <algorithm>

#include <linux/virtio_ids.h>
#include <sys/eventfd.h>

#include "vmm/devices/net/offload.h"
#include "vmm/devices/net/state.capnp.h"
#include "vmm/devices/net/wire.h"
#include "vmm/devices/saved_state.h"

namespace understudy {
namespace {

constexpr std::uint64_t bit(unsigned feature) { return std::uint64_t{1} << feature; }
constexpr std::uint64_t kFeatures = bit(net_wire::kFeatureMac) | bit(net_wire::kFeatureStatus) | bit(net_wire::kFeatureMergeableBuffers) |
                                    bit(net_wire::kFeatureControlQueue) | bit(net_wire::kFeatureGuestAnnounce);
constexpr std::uint64_t kReceiveOffloads = bit(net_wire::kFeatureGuestChecksum) | bit(net_wire::kFeatureGuestTso4) |
                                           bit(net_wire::kFeatureGuestTso6) | bit(net_wire::kFeatureGuestEcn);
constexpr std::uint64_t kOffloads = kReceiveOffloads | bit(net_wire::kFeatureChecksum) | bit(net_wire::kFeatureHostTso4) |
                                    bit(net_wire::kFeatureHostTso6) | bit(net_wire::kFeatureHostEcn) |
                                    bit(net_wire::kFeatureControlGuestOffloads);

std::uint64_t features(bool offloads, unsigned queue_pairs) {
  return kFeatures | (offloads ? kOffloads : 0) | (queue_pairs > 1 ? bit(net_wire::kFeatureMultiQueue) : 0);
}

std::vector<std::byte> config_space(const MacAddress& mac, unsigned queue_pairs) {
  const net_wire::Config config{
      .mac = mac.octets, .status = net_wire::kStatusLinkUp, .max_queue_pairs = static_cast<std::uint16_t>(queue_pairs)};
  const auto bytes = std::as_bytes(std::span{&config, 1});
  return {bytes.begin(), bytes.end()};
}

}  // namespace

Result<std::unique_ptr<Net>> Net::create(VirtioSlot slot, const MacAddress& mac, std::shared_ptr<NetBackend> backend,
                                         unsigned queue_pairs) {
  if (backend == nullptr) return Error{ErrorCode::kInvalid, "device " + slot.id + ": no network backend was given"};
  if ((mac.octets[0] & 1) != 0 || mac == MacAddress{})
    return Error{ErrorCode::kInvalid, "device " + slot.id + ": MAC " + mac.text() + " is not a unicast address"};
  if (queue_pairs < 1 || queue_pairs > kMaxQueuePairs)
    return Error{ErrorCode::kInvalid,
                 "device " + slot.id + ": " + std::to_string(queue_pairs) + " queue pairs: give 1 to " + std::to_string(kMaxQueuePairs)};
  US_ASSIGN(auto host, make_host(2 * queue_pairs + 1));
  UniqueFd reset_fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!reset_fd) return Error::from_errno("device " + slot.id + ": eventfd");
  return std::unique_ptr<Net>{new Net{std::move(slot), std::move(host), mac, std::move(backend), queue_pairs, std::move(reset_fd)}};
}

Net::Net(VirtioSlot slot, Host host, const MacAddress& mac, std::shared_ptr<NetBackend> backend, unsigned queue_pairs, UniqueFd reset_fd)
    : VirtioMmio{std::move(slot),
                 std::move(host),
                 {.device_type = VIRTIO_ID_NET,
                  .features = features(backend->offloads(), queue_pairs),
                  .config_space = understudy::config_space(mac, queue_pairs)}},
      mac_{mac},
      backend_{std::move(backend)},
      max_pairs_{queue_pairs},
      reset_fd_{std::move(reset_fd)},
      room_{loop(), backend_->room_fd(), [this] { on_room(); }},
      arrival_{loop(), backend_->receive_fd(),
               [this] {
                 Turn turn{*this};
                 if (turn && live()) {
                   pump_receive();
                 } else {
                   arrival_.disarm();  // frames wait in the backend until the driver runs
                 }
               }},
      reset_{loop(), reset_fd_.get(),
             [this] {
               Turn turn{*this};
               if (!turn) return;
               drain(reset_fd_.get());
               show_driver();
             }},
      frame_{std::make_unique<std::byte[]>(NetBackend::kMaxFrameBytes)},
      shown_status_{net_wire::kStatusLinkUp} {}

std::string Net::geometry() const {
  return (max_pairs_ > 1 ? ":" + std::to_string(max_pairs_) + "-queue-pairs" : "") + (backend_->offloads() ? "" : ":tap-without-offloads");
}

unsigned Net::negotiated_pairs() const { return negotiated(net_wire::kFeatureMultiQueue) ? max_pairs_ : 1; }

// 5.1.2: the last of the queues that were agreed on.
std::optional<unsigned> Net::control_queue() const {
  if (!negotiated(net_wire::kFeatureControlQueue)) return std::nullopt;
  return 2 * negotiated_pairs();
}

Offloads Net::receive_offloads() const { return guest_offloads(driver_features() & ~offloads_off_); }

bool Net::set_guest_offloads(std::uint64_t wanted) {
  const std::uint64_t agreed = driver_features() & kReceiveOffloads;
  if ((wanted & ~agreed) != 0) return false;
  offloads_off_ = agreed & ~wanted;
  return true;
}

void Net::work(unsigned index) {
  show_driver();
  if (index == control_queue()) {
    pump_control();
  } else if (index < 2 * negotiated_pairs()) {
    if (index % 2 == 0)
      pump_receive();
    else
      pump_transmit(index / 2);
  }
}

// Brings what the driver chose, or that it is gone, to the configuration space and to the backend.
void Net::show_driver() {
  const auto status = static_cast<std::uint16_t>(net_wire::kStatusLinkUp | (announce_pending_ ? net_wire::kStatusAnnounce : 0));
  if (status != std::exchange(shown_status_, status))
    change_config(offsetof(net_wire::Config, status), std::as_bytes(std::span{&status, 1}));
  const Offloads taken = live() ? receive_offloads() : Offloads{};
  if (passed_offloads_ == taken) return;
  passed_offloads_ = taken;
  backend_->set_receive_offloads(taken);
}

void Net::on_room() {
  Turn turn{*this};
  if (!turn) return;
  drain(room_.fd());
  waiting_for_room_ = false;
  if (!live()) return;
  first_pair_ = (first_pair_ + 1) % max_pairs_;  // so that no pair takes all the room for ever
  for (unsigned i = 0; i < max_pairs_; ++i) {
    const unsigned pair = (first_pair_ + i) % max_pairs_;
    if (pair < negotiated_pairs() && runs(transmit_queue(pair))) pump_transmit(pair);
  }
}

void Net::on_resume() {
  room_.arm();
  reset_.arm();
  waiting_for_room_ = false;  // the queue counts as kicked: ask the backend again
  backend_gone_ = false;
  passed_offloads_.reset();  // this host's tap may have been another device's
  if (std::exchange(arrived_, false) && live() && negotiated(net_wire::kFeatureGuestAnnounce)) {
    announce_pending_ = true;
    tell_driver_of_config();
  }
  show_driver();
}

void Net::on_quiesce() {
  room_.disarm();
  arrival_.disarm();
  reset_.disarm();
}

void Net::on_reset() {
  waiting_for_room_ = false;
  frame_bytes_ = 0;
  queue_pairs_ = 1;
  announce_pending_ = false;
  offloads_off_ = 0;
  steering_.forget();
  signal(reset_fd_.get());
}

void Net::on_detach() { backend_->set_receive_offloads({}); }

void Net::save(schema::DeviceState::Builder out) const {
  out.setId(std::string{id()});
  out.setVersion(kStateVersion);
  auto state = out.getState().initAs<schema::NetState>();
  state.setMac(kj::ArrayPtr<const kj::byte>{mac_.octets.data(), mac_.octets.size()});
  state.setQueuePairs(queue_pairs_);
  state.setAnnouncePending(announce_pending_);
  state.setOffloadsOff(offloads_off_);
  save_transport(state.initTransport());
}

Result<Net::State> Net::parse(schema::DeviceState::Reader in) const {
  return parse_saved_state(in, id(), kStateVersion, [&]() -> Result<State> {
    const auto saved = in.getState().getAs<schema::NetState>();
    if (!std::ranges::equal(saved.getMac(), mac_.octets)) return Error{ErrorCode::kInvalid, "its guest knows the device by another MAC"};
    State state{.transport = {},
                .queue_pairs = saved.getQueuePairs(),
                .announce_pending = saved.getAnnouncePending(),
                .offloads_off = saved.getOffloadsOff()};
    if (state.queue_pairs < 1 || state.queue_pairs > max_pairs_)
      return Error{ErrorCode::kInvalid,
                   "it uses " + std::to_string(state.queue_pairs) + " queue pairs, this device has " + std::to_string(max_pairs_)};
    if ((state.offloads_off & ~kReceiveOffloads) != 0)
      return Error{ErrorCode::kCorrupt, "it turned offloads " + std::to_string(state.offloads_off) + " off, which do not exist"};
    US_ASSIGN(state.transport, parse_transport(saved.getTransport()));
    return state;
  });
}

Result<void> Net::check(schema::DeviceState::Reader in) const {
  US_TRY(parse(in));
  return {};
}

Result<void> Net::restore(schema::DeviceState::Reader in) {
  US_ASSIGN(const State state, parse(in));
  queue_pairs_ = state.queue_pairs;
  announce_pending_ = state.announce_pending;
  offloads_off_ = state.offloads_off;
  arrived_ = true;
  restore_transport(state.transport);
  return {};
}

}  // namespace understudy
