#include "vmm/devices/net/net.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <unistd.h>

#include <linux/virtio_ids.h>

#include "vmm/devices/net/state.capnp.h"
#include "vmm/devices/net/wire.h"
#include "vmm/devices/saved_state.h"

namespace understudy {
namespace {

constexpr unsigned kQueueCount = 2;
constexpr std::size_t kHeaderBytes = sizeof(net_wire::Header);
constexpr std::size_t kMinFrameBytes = 14;
// Chains or frames in one turn, so that a busy queue does not keep the loop from its other work.
constexpr unsigned kTurnBudget = 256;

constexpr std::uint64_t kFeatures = (std::uint64_t{1} << net_wire::kFeatureMac) | (std::uint64_t{1} << net_wire::kFeatureStatus) |
                                    (std::uint64_t{1} << net_wire::kFeatureMergeableBuffers);

std::vector<std::byte> config_space(const MacAddress& mac) {
  const net_wire::Config config{.mac = mac.octets, .status = net_wire::kStatusLinkUp};
  const auto bytes = std::as_bytes(std::span{&config, 1});
  return {bytes.begin(), bytes.end()};
}

}  // namespace

Result<std::unique_ptr<Net>> Net::create(VirtioSlot slot, const MacAddress& mac, std::shared_ptr<NetBackend> backend) {
  if (backend == nullptr) return Error{ErrorCode::kInvalid, "device " + slot.id + ": no network backend was given"};
  if ((mac.octets[0] & 1) != 0 || mac == MacAddress{})
    return Error{ErrorCode::kInvalid, "device " + slot.id + ": MAC " + mac.text() + " is not a unicast address"};
  US_ASSIGN(auto host, make_host(kQueueCount));
  return std::unique_ptr<Net>{new Net{std::move(slot), std::move(host), mac, std::move(backend)}};
}

Net::Net(VirtioSlot slot, Host host, const MacAddress& mac, std::shared_ptr<NetBackend> backend)
    : VirtioMmio{std::move(slot),
                 std::move(host),
                 {.device_type = VIRTIO_ID_NET, .features = kFeatures, .config_space = config_space(mac)}},
      mac_{mac},
      backend_{std::move(backend)},
      room_{loop(), backend_->room_fd(),
            [this] {
              Turn turn{*this};
              if (!turn) return;
              std::uint64_t count = 0;
              [[maybe_unused]] const auto got = ::read(room_.fd(), &count, sizeof count);
              waiting_for_room_ = false;
              if (runs(kTransmitQueue)) pump_transmit();
            }},
      arrival_{loop(), backend_->receive_fd(),
               [this] {
                 Turn turn{*this};
                 if (turn && runs(kReceiveQueue)) {
                   pump_receive();
                 } else {
                   arrival_.disarm();  // frames wait in the backend until the driver runs
                 }
               }},
      frame_{std::make_unique<std::byte[]>(NetBackend::kMaxFrameBytes)} {}

void Net::work(unsigned index) {
  if (index == kReceiveQueue) pump_receive();
  if (index == kTransmitQueue) pump_transmit();
}

void Net::on_resume() {
  room_.arm();
  waiting_for_room_ = false;  // the queue counts as kicked: ask the backend again
}

void Net::on_quiesce() {
  room_.disarm();
  arrival_.disarm();
}

void Net::on_reset() {
  waiting_for_room_ = false;
  frame_bytes_ = 0;
}

void Net::pump_transmit() {
  // A notification while the backend is full: the chain stays available until room_fd() says otherwise.
  if (waiting_for_room_) return;
  Virtqueue& ring = queue(kTransmitQueue);
  ring.disable_notifications();
  unsigned budget = kTurnBudget;
  for (; budget > 0; --budget) {
    const Pop popped = ring.pop(chain_);
    if (popped == Pop::kBroken) {
      fail("transmit queue", ring.error());
      break;
    }
    if (popped == Pop::kEmpty) {
      if (ring.enable_notifications()) continue;
      break;
    }
    bool room = true;
    if (!transmit(chain_, room)) refused_transmits_.fetch_add(1, std::memory_order_relaxed);
    if (!room) {
      ring.unpop(1);
      waiting_for_room_ = true;
      break;
    }
    ring.push(chain_.head, 0);
  }
  publish(kTransmitQueue);
  if (budget == 0) work_again(kTransmitQueue);
}

// False: no frame that may be sent. `room` becomes false when the backend took nothing.
bool Net::transmit(const Chain& chain, bool& room) {
  if (chain.readable_bytes < kHeaderBytes + kMinFrameBytes || chain.readable_bytes > kHeaderBytes + NetBackend::kMaxFrameBytes)
    return false;
  net_wire::Header header;
  std::array<ConstBytes, kMaxQueueSize> pieces;
  std::size_t piece_count = 0;
  std::size_t header_bytes = 0;
  for (const Segment& segment : chain.readable()) {
    ConstBytes bytes = *memory().at(segment.address, segment.length);
    const std::size_t of_header = std::min(bytes.size(), kHeaderBytes - header_bytes);
    if (of_header > 0) std::memcpy(reinterpret_cast<std::byte*>(&header) + header_bytes, bytes.data(), of_header);
    header_bytes += of_header;
    bytes = bytes.subspan(of_header);
    if (!bytes.empty()) pieces[piece_count++] = bytes;
  }
  // Neither checksum nor segmentation offload is offered (5.1.6.2).
  if (header.segmentation != net_wire::kSegmentationNone || (header.flags & net_wire::kFlagNeedsChecksum) != 0) return false;
  room = backend_->transmit(std::span{pieces}.first(piece_count));
  return true;
}

void Net::pump_receive() {
  Virtqueue& ring = queue(kReceiveQueue);
  ring.disable_notifications();
  bool starved = false;
  bool drained = false;
  unsigned budget = kTurnBudget;
  for (; budget > 0 && !starved && !drained; --budget) {
    if (!ring.has_available()) {
      // Frames stay in the backend until the guest has buffers.
      starved = !ring.enable_notifications();
      continue;
    }
    if (frame_bytes_ == 0) {
      const auto received = backend_->receive(MutableBytes{frame_.get(), NetBackend::kMaxFrameBytes});
      drained = !received;
      if (!received) continue;
      if (*received < kMinFrameBytes || *received > NetBackend::kMaxFrameBytes) {
        refused_receives_.fetch_add(1, std::memory_order_relaxed);
        continue;
      }
      frame_bytes_ = *received;
    }
    switch (deliver()) {
      case Delivery::kDone:
        frame_bytes_ = 0;
        break;
      case Delivery::kNoBuffers:
        // Enough for a part of it only: wait for more, unless they came in this moment.
        starved = !ring.enable_notifications(too_few_chains_);
        break;
      case Delivery::kBroken:
        starved = true;
        break;
    }
  }
  publish(kReceiveQueue);
  if (starved) {
    arrival_.disarm();
  } else {
    arrival_.arm();
  }
  if (budget == 0) work_again(kReceiveQueue);
}

Net::Delivery Net::broken(const char* why) {
  fail("receive queue", why);
  return Delivery::kBroken;
}

// Puts the frame in hand into the guest's next buffers.
Net::Delivery Net::deliver() {
  Virtqueue& ring = queue(kReceiveQueue);
  const std::uint64_t packet_bytes = kHeaderBytes + frame_bytes_;
  std::uint64_t capacity = 0;
  std::uint16_t chains = 0;
  while (capacity < packet_bytes) {
    // Without mergeable buffers a packet has one, and with them no more than the queue holds: refused, the buffers stay for the next frame.
    const bool last = chains == (negotiated(net_wire::kFeatureMergeableBuffers) ? ring.size() : 1);
    const Pop popped = last ? Pop::kEmpty : ring.pop(chain_);
    if (popped == Pop::kBroken) return broken(ring.error());
    if (popped == Pop::kEmpty) {
      ring.unpop(chains);
      too_few_chains_ = chains;
      if (!last) return Delivery::kNoBuffers;
      refused_receives_.fetch_add(1, std::memory_order_relaxed);
      return Delivery::kDone;
    }
    if (chain_.writable_bytes == 0) return broken("a receive buffer that may not be written");
    capacity += chain_.writable_bytes;
    ++chains;
  }
  if (chains > 1) return deliver_merged(chains);
  ring.push(chain_.head, fill(chain_, 0, 1));
  return Delivery::kDone;
}

// The header comes first and says how many buffers follow, so they were counted first and are popped again.
Net::Delivery Net::deliver_merged(std::uint16_t chains) {
  Virtqueue& ring = queue(kReceiveQueue);
  ring.unpop(chains);
  std::uint64_t offset = 0;
  for (std::uint16_t i = 0; i < chains; ++i) {
    if (ring.pop(chain_) != Pop::kChain) return broken("a receive buffer changed while it was available");
    const std::uint32_t written = fill(chain_, offset, chains);
    ring.push(chain_.head, written);
    offset += written;
  }
  if (offset < kHeaderBytes + frame_bytes_) return broken("a receive buffer changed while it was available");
  return Delivery::kDone;
}

// Copies the packet (header and frame) from `packet_offset` on into the chain; returns the bytes written.
std::uint32_t Net::fill(const Chain& chain, std::uint64_t packet_offset, std::uint16_t chains) {
  const net_wire::Header header{.buffer_count = chains};
  const ConstBytes parts[] = {std::as_bytes(std::span{&header, 1}), ConstBytes{frame_.get(), frame_bytes_}};
  std::uint32_t written = 0;
  for (const Segment& segment : chain.writable()) {
    MutableBytes target = *memory().at(segment.address, segment.length);
    std::uint64_t part_start = 0;
    for (const ConstBytes part : parts) {
      const std::uint64_t position = packet_offset + written;
      if (position >= part_start && position < part_start + part.size()) {
        const ConstBytes source = part.subspan(position - part_start);
        const std::size_t length = std::min(source.size(), target.size());
        if (length > 0) std::memcpy(target.data(), source.data(), length);
        target = target.subspan(length);
        written += static_cast<std::uint32_t>(length);
      }
      part_start += part.size();
    }
    memory().mark_written(segment.address, segment.length - target.size());
  }
  return written;
}

void Net::save(schema::DeviceState::Builder out) const {
  out.setId(std::string{id()});
  out.setVersion(kStateVersion);
  auto state = out.getState().initAs<schema::NetState>();
  state.setMac(kj::ArrayPtr<const kj::byte>{mac_.octets.data(), mac_.octets.size()});
  save_transport(state.initTransport());
}

Result<VirtioMmio::TransportState> Net::parse(schema::DeviceState::Reader in) const {
  return parse_saved_state(in, id(), kStateVersion, [&]() -> Result<TransportState> {
    const auto state = in.getState().getAs<schema::NetState>();
    if (!std::ranges::equal(state.getMac(), mac_.octets)) return Error{ErrorCode::kInvalid, "its guest knows the device by another MAC"};
    return parse_transport(state.getTransport());
  });
}

Result<void> Net::check(schema::DeviceState::Reader in) const {
  US_TRY(parse(in));
  return {};
}

Result<void> Net::restore(schema::DeviceState::Reader in) {
  US_ASSIGN(const TransportState state, parse(in));
  restore_transport(state);
  return {};
}

}  // namespace understudy
