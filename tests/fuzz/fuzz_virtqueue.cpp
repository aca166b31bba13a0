// The split ring over memory that the input fills: whatever it says, every piece lies in guest memory, chains are bounded, and positions
// move by one.
#include <algorithm>

#include "input_reader.h"
#include "net/base/check.h"
#include "vmm/devices/virtio/virtqueue.h"

namespace understudy {
namespace {

constexpr std::uint64_t kDescriptors = 0x1000;
constexpr std::uint64_t kAvailable = 0x3000;
constexpr std::uint64_t kUsed = 0x4000;
constexpr std::uint64_t kTables = 0x6000;  // where indirect tables may lie
constexpr std::uint64_t kEnd = 0x8000;

GuestMemory& memory() {
  static const auto memory = *GuestMemory::create(GuestMemory::kMinBytes);
  return *memory;
}

void put(std::uint64_t at, std::span<const std::byte> bytes) { US_CHECK(memory().write(GuestPhysicalAddress{at}, bytes)); }
template <class T>
void put(std::uint64_t at, const T& value) {
  put(at, std::as_bytes(std::span{&value, 1}));
}

// Mostly an address that may be good, by a small choice.
std::uint64_t address(InputReader& input) {
  switch (input.byte() % 8) {
    case 0:
      return GuestMemory::kMinBytes - input.byte();
    case 1:
      return input.take<std::uint64_t>();
    case 2:
      return GuestMemory::kHoleStart + input.byte();
    case 3:
    case 4:
      return kTables + 16 * (input.byte() % 64);
    default:
      return 0x10000 + std::uint64_t{input.byte()} * 64;
  }
}

struct RawDescriptor {
  std::uint64_t address;
  std::uint32_t length;
  std::uint16_t flags;
  std::uint16_t next;
};

void check_chain(const Chain& chain, std::uint16_t queue_size) {
  US_CHECK(chain.head < queue_size);
  US_CHECK(chain.count > 0 && chain.count <= kMaxQueueSize && chain.readable_count <= chain.count);
  std::uint64_t readable = 0;
  std::uint64_t writable = 0;
  for (const Segment& segment : chain.readable()) {
    US_CHECK(memory().at(segment.address, segment.length).has_value());
    readable += segment.length;
  }
  for (const Segment& segment : chain.writable()) {
    US_CHECK(memory().at(segment.address, segment.length).has_value());
    writable += segment.length;
  }
  US_CHECK(readable == chain.readable_bytes && writable == chain.writable_bytes);
}

void run(InputReader input) {
  std::ranges::fill(memory().file().first(kEnd), std::byte{0});
  const auto size = static_cast<std::uint16_t>(1u << (input.byte() % 9));
  const std::uint8_t features = input.byte();
  QueueState state{.size = size,
                   .ready = true,
                   .descriptors = kDescriptors,
                   .driver_area = kAvailable,
                   .device_area = kUsed,
                   .next_available = input.byte() % 2 == 0 ? std::uint16_t{0} : input.take<std::uint16_t>(),
                   .next_used = input.byte() % 2 == 0 ? std::uint16_t{0} : input.take<std::uint16_t>()};
  std::uint16_t available_index = state.next_available;
  Virtqueue ring{memory()};
  US_CHECK(ring.activate(state, (features & 1) != 0, (features & 2) != 0).has_value());
  static Chain chain;

  for (unsigned steps = 0; !input.done() && steps < 2000; ++steps) {
    switch (input.byte() % 8) {
      case 0:
      case 1:
      case 2: {
        const bool in_table = input.byte() % 4 == 0;
        const std::uint64_t slot = input.byte();
        const RawDescriptor descriptor{address(input), input.byte() % 4 == 0 ? input.take<std::uint32_t>() : 16u * (input.byte() % 32),
                                       static_cast<std::uint16_t>(input.byte() % 8), input.byte()};
        put(in_table ? kTables + 16 * (slot % 64) : kDescriptors + 16 * (slot % size), descriptor);
        break;
      }
      case 3: {
        const std::uint16_t head = static_cast<std::uint16_t>(input.byte() % 8 == 0 ? input.take<std::uint16_t>() : input.byte() % size);
        put(kAvailable + 4 + std::uint64_t{2} * (available_index % size), head);
        put(kAvailable + 2, ++available_index);
        break;
      }
      case 4:
        if (input.byte() % 16 == 0) put(kAvailable + 2, available_index = input.take<std::uint16_t>());
        break;
      case 5: {
        const std::uint16_t before = ring.next_available();
        const Pop popped = ring.pop(chain);
        US_CHECK(ring.next_available() == static_cast<std::uint16_t>(before + (popped == Pop::kChain ? 1 : 0)));
        if (popped == Pop::kBroken) US_CHECK(ring.error()[0] != '\0');
        if (popped != Pop::kChain) break;
        check_chain(chain, size);
        if (input.byte() % 4 == 0) {
          ring.unpop(1);
        } else if (input.byte() % 2 == 0) {
          ring.push(chain.head, static_cast<std::uint32_t>(chain.writable_bytes));
        }
        break;
      }
      case 6:
        ring.publish();
        break;
      default:
        if (input.byte() % 2 == 0) {
          ring.enable_notifications(input.byte() % 4);
        } else {
          ring.disable_notifications();
        }
        if (ring.read_chain(input.take<std::uint16_t>(), chain)) check_chain(chain, size);
    }
  }
}

}  // namespace
}  // namespace understudy

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  understudy::run({data, size});
  return 0;
}
