// The control queue (virtio 1.2, 5.1.6.5): what the driver asks of the device itself. A request that the device does not know, or that is
// not what it should be, is answered with an error and changes nothing.
#include <algorithm>
#include <array>
#include <cstring>

#include "vmm/devices/net/net.h"
#include "vmm/devices/net/net_limits.h"
#include "vmm/devices/net/wire.h"

namespace understudy {
namespace {

// Class, command, and the longest data of a command that is known here.
constexpr std::size_t kMaxControlBytes = 2 + sizeof(std::uint64_t);

// The data of a request, which must be as long as the command says.
template <class Integer>
std::optional<Integer> data_of(ConstBytes request) {
  Integer value;
  if (request.size() != 2 + sizeof value) return std::nullopt;
  std::memcpy(&value, request.data() + 2, sizeof value);
  return value;
}

}  // namespace

void Net::pump_control() {
  const unsigned index = *control_queue();
  Virtqueue& ring = queue(index);
  ring.disable_notifications();
  unsigned budget = kChainsPerTurn;
  for (; budget > 0 && live(); --budget) {
    const Pop popped = ring.pop(chain_);
    if (popped == Pop::kBroken) {
      fail("control queue", ring.error());
      break;
    }
    if (popped == Pop::kEmpty) {
      if (ring.enable_notifications()) continue;
      break;
    }
    answer(chain_);
  }
  publish(index);
  if (budget == 0) work_again(index);
  show_driver();
  if (live()) pump_receive();  // there may be more queues with buffers now
}

void Net::answer(const Chain& chain) {
  if (chain.writable_bytes == 0) {
    fail("control queue", "a request without room for its answer");
    return;
  }
  std::array<std::byte, kMaxControlBytes> request;
  bool done = chain.readable_bytes <= request.size();
  if (done) {
    std::size_t length = 0;
    for (const Segment& segment : chain.readable()) {
      const ConstBytes bytes = *memory().at(segment.address, segment.length);
      if (!bytes.empty()) std::memcpy(request.data() + length, bytes.data(), bytes.size());
      length += bytes.size();
    }
    done = carry_out(std::span{request}.first(length));
  }
  const auto writable = chain.writable();
  const Segment& first = *std::ranges::find_if(writable, [](const Segment& segment) { return segment.length > 0; });
  (*memory().at(first.address, 1))[0] = static_cast<std::byte>(done ? net_wire::kControlOk : net_wire::kControlError);
  memory().mark_written(first.address, 1);
  queue(*control_queue()).push(chain.head, 1);
}

// False: not known, not negotiated, or with data that makes no sense.
bool Net::carry_out(ConstBytes request) {
  if (request.size() < 2) return false;
  const auto command = std::to_integer<std::uint8_t>(request[1]);
  switch (static_cast<net_wire::ControlClass>(request[0])) {
    case net_wire::ControlClass::kAnnounce:
      if (!negotiated(net_wire::kFeatureGuestAnnounce) || command != net_wire::kAnnounceAck || request.size() != 2) return false;
      announce_pending_ = false;
      show_driver();  // 5.1.6.5.4.1: gone from the status before the request is used
      return true;
    case net_wire::ControlClass::kMultiQueue: {
      const auto pairs = data_of<std::uint16_t>(request);
      if (!pairs || command != net_wire::kSetQueuePairs || *pairs < 1 || *pairs > negotiated_pairs() ||
          !negotiated(net_wire::kFeatureMultiQueue))
        return false;
      queue_pairs_ = *pairs;
      return true;
    }
    case net_wire::ControlClass::kGuestOffloads: {
      const auto wanted = data_of<std::uint64_t>(request);
      if (!wanted || command != net_wire::kSetGuestOffloads || !negotiated(net_wire::kFeatureControlGuestOffloads)) return false;
      return set_guest_offloads(*wanted);
    }
  }
  return false;
}

}  // namespace understudy
