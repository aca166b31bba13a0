// From the guest's transmit queues to the backend (virtio 1.2, 5.1.6.2): a frame is handed over in pieces, without a copy here.
#include <algorithm>
#include <array>
#include <cstring>

#include "vmm/devices/net/net.h"
#include "vmm/devices/net/net_limits.h"
#include "vmm/devices/net/offload.h"
#include "vmm/devices/net/wire.h"

namespace understudy {
namespace {

// The start of a frame in pieces, as far as steering looks.
std::span<const std::byte> copy_head(std::span<const ConstBytes> pieces, std::array<std::byte, FlowSteering::kHeadBytes>& head) {
  std::size_t copied = 0;
  for (const ConstBytes piece : pieces) {
    const std::size_t length = std::min(piece.size(), head.size() - copied);
    if (length == 0) break;
    std::memcpy(head.data() + copied, piece.data(), length);
    copied += length;
  }
  return std::span{head}.first(copied);
}

}  // namespace

void Net::pump_transmit(unsigned pair) {
  // A notification while the backend is full: the chain stays available until room_fd() says otherwise.
  if (waiting_for_room_) return;
  const unsigned index = transmit_queue(pair);
  Virtqueue& ring = queue(index);
  ring.disable_notifications();
  unsigned budget = kChainsPerTurn;
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
    if (!transmit(chain_, pair, room)) refused_transmits_.fetch_add(1, std::memory_order_relaxed);
    if (!room) {
      ring.unpop(1);
      waiting_for_room_ = true;
      break;
    }
    ring.push(chain_.head, 0);
  }
  publish(index);
  if (budget == 0) work_again(index);
}

// False: no frame that may be sent. `room` becomes false when the backend took nothing.
bool Net::transmit(const Chain& chain, unsigned pair, bool& room) {
  if (chain.readable_bytes < kNetHeaderBytes + kMinFrameBytes || chain.readable_bytes > kNetHeaderBytes + NetBackend::kMaxFrameBytes)
    return false;
  net_wire::Header header;
  std::array<ConstBytes, kMaxQueueSize> pieces;
  std::size_t piece_count = 0;
  std::size_t header_bytes = 0;
  for (const Segment& segment : chain.readable()) {
    ConstBytes bytes = *memory().at(segment.address, segment.length);
    const std::size_t of_header = std::min(bytes.size(), kNetHeaderBytes - header_bytes);
    if (of_header > 0) std::memcpy(reinterpret_cast<std::byte*>(&header) + header_bytes, bytes.data(), of_header);
    header_bytes += of_header;
    bytes = bytes.subspan(of_header);
    if (!bytes.empty()) pieces[piece_count++] = bytes;
  }
  const auto frame = std::span{pieces}.first(piece_count);
  const auto offload = offload_to_host(header.offload, chain.readable_bytes - kNetHeaderBytes, host_offloads(driver_features()));
  if (!offload) return false;
  room = backend_->transmit(*offload, frame);
  if (room && pairs_in_use() > 1) {
    std::array<std::byte, FlowSteering::kHeadBytes> head;
    steering_.sent(copy_head(frame, head), pair);
  }
  return true;
}

}  // namespace understudy
