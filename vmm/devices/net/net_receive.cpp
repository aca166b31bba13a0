// From the backend to the guest's receive queues (virtio 1.2, 5.1.6.3 and 5.1.6.4).
//
// A frame goes to the queue pair of its flow, or to another that has buffers: one vCPU that gives none back holds up its own frames at
// most.
#include <algorithm>
#include <cstring>

#include "vmm/devices/net/net.h"
#include "vmm/devices/net/net_limits.h"
#include "vmm/devices/net/offload.h"
#include "vmm/devices/net/wire.h"

namespace understudy {

void Net::pump_receive() {
  for (unsigned pair = 0; pair < pairs_in_use(); ++pair)
    if (runs(receive_queue(pair))) queue(receive_queue(pair)).disable_notifications();
  bool starved = false;
  bool drained = false;
  unsigned budget = kChainsPerTurn;
  for (; budget > 0 && !starved && !drained; --budget) {
    if (!any_buffer()) {
      // Frames stay in the backend until the guest has buffers. Those that were too few for the frame in hand may be gone as well, where a
      // driver moved its index back: counted on, they would seem to come for ever.
      too_few_chains_ = {};
      starved = !ask_for_buffers();
      continue;
    }
    if (frame_bytes_ == 0) {
      drained = !take_frame();
      if (frame_bytes_ == 0) continue;
    }
    switch (deliver()) {
      case Delivery::kDone:
        frame_bytes_ = 0;
        break;
      case Delivery::kNoBuffers:
        // Enough for a part of it only: wait for more, unless they came in this moment.
        starved = !ask_for_buffers();
        break;
      case Delivery::kBroken:
        starved = true;
        break;
    }
  }
  for (unsigned pair = 0; pair < negotiated_pairs(); ++pair)
    if (queue(receive_queue(pair)).active()) publish(receive_queue(pair));
  if (starved || backend_gone_) {
    arrival_.disarm();
  } else {
    arrival_.arm();
  }
  if (budget == 0) work_again(receive_queue(0));
}

// False: the backend has none. A frame that this guest can't be given is refused, and none is in hand.
bool Net::take_frame() {
  too_few_chains_ = {};
  const auto received = backend_->receive(MutableBytes{frame_.get(), NetBackend::kMaxFrameBytes});
  if (!received) {
    backend_gone_ = received.error() == NetBackend::NoFrame::kGone;
    return false;
  }
  std::optional<FrameOffload> offload;
  if (received->bytes >= kMinFrameBytes && received->bytes <= NetBackend::kMaxFrameBytes)
    offload = offload_to_guest(received->offload, MutableBytes{frame_.get(), received->bytes}, receive_offloads());
  if (!offload) {
    refused_receives_.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  frame_bytes_ = received->bytes;
  frame_offload_ = *offload;
  return true;
}

bool Net::any_buffer() {
  for (unsigned pair = 0; pair < pairs_in_use(); ++pair)
    if (runs(receive_queue(pair)) && queue(receive_queue(pair)).has_available()) return true;
  return false;
}

// Asks the driver to tell of new buffers; true: some came in this moment.
bool Net::ask_for_buffers() {
  bool came = false;
  for (unsigned pair = 0; pair < pairs_in_use(); ++pair)
    if (runs(receive_queue(pair))) came |= queue(receive_queue(pair)).enable_notifications(frame_bytes_ == 0 ? 0 : too_few_chains_[pair]);
  return came;
}

Net::Delivery Net::broken(const char* why) {
  fail("receive queue", why);
  return Delivery::kBroken;
}

// Puts the frame in hand into the guest's next buffers.
Net::Delivery Net::deliver() {
  const unsigned pairs = pairs_in_use();
  const unsigned first =
      pairs == 1 ? 0 : steering_.pair_for(ConstBytes{frame_.get(), std::min(frame_bytes_, FlowSteering::kHeadBytes)}, pairs);
  for (unsigned i = 0; i < pairs; ++i) {
    const unsigned pair = (first + i) % pairs;
    if (!runs(receive_queue(pair))) continue;
    if (const Delivery delivery = deliver_to(pair); delivery != Delivery::kNoBuffers) return delivery;
  }
  return Delivery::kNoBuffers;
}

Net::Delivery Net::deliver_to(unsigned pair) {
  Virtqueue& ring = queue(receive_queue(pair));
  const std::uint64_t packet_bytes = kNetHeaderBytes + frame_bytes_;
  std::uint64_t capacity = 0;
  std::uint16_t chains = 0;
  while (capacity < packet_bytes) {
    // Without mergeable buffers a packet has one, and with them no more than the queue holds: refused, the buffers stay for the next frame.
    const bool last = chains == (negotiated(net_wire::kFeatureMergeableBuffers) ? ring.size() : 1);
    const Pop popped = last ? Pop::kEmpty : ring.pop(chain_);
    if (popped == Pop::kBroken) return broken(ring.error());
    if (popped == Pop::kEmpty) {
      ring.unpop(chains);
      too_few_chains_[pair] = chains;
      if (!last) return Delivery::kNoBuffers;
      refused_receives_.fetch_add(1, std::memory_order_relaxed);
      return Delivery::kDone;
    }
    if (chain_.writable_bytes == 0) return broken("a receive buffer that may not be written");
    capacity += chain_.writable_bytes;
    ++chains;
  }
  if (chains > 1) return deliver_merged(ring, chains);
  ring.push(chain_.head, fill(chain_, 0, 1));
  return Delivery::kDone;
}

// The header comes first and says how many buffers follow, so they were counted first and are popped again.
Net::Delivery Net::deliver_merged(Virtqueue& ring, std::uint16_t chains) {
  ring.unpop(chains);
  std::uint64_t offset = 0;
  for (std::uint16_t i = 0; i < chains; ++i) {
    if (ring.pop(chain_) != Pop::kChain) return broken("a receive buffer changed while it was available");
    const std::uint32_t written = fill(chain_, offset, chains);
    ring.push(chain_.head, written);
    offset += written;
  }
  if (offset < kNetHeaderBytes + frame_bytes_) return broken("a receive buffer changed while it was available");
  return Delivery::kDone;
}

// Copies the packet (header and frame) from `packet_offset` on into the chain; returns the bytes written.
std::uint32_t Net::fill(const Chain& chain, std::uint64_t packet_offset, std::uint16_t chains) {
  const net_wire::Header header{.offload = frame_offload_, .buffer_count = chains};
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

}  // namespace understudy
