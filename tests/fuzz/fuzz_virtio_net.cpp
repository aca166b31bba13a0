// virtio-net as a hostile guest drives it: chains of all its queues, headers, control requests and negotiated features, with frames of any
// kind from the host, and save and restore in between. What reaches the host's kernel keeps to what was agreed, and so does what reaches
// the guest.
#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include <sys/eventfd.h>

#include "device_bench.h"
#include "vmm/devices/net/net.h"
#include "vmm/devices/net/wire.h"

namespace understudy::fuzz {
namespace {

constexpr unsigned kPairs = 2;
constexpr unsigned kQueues = 2 * kPairs + 1;
constexpr std::uint64_t kRings = 0x1000;
constexpr std::uint64_t kRingBytes = 0x3000;
constexpr std::uint64_t kData = kRings + kQueues * kRingBytes;
constexpr std::uint64_t kReceiveBuffers = 0x20000;
constexpr std::uint64_t kBufferBytes = 0x2000;
constexpr std::uint32_t kOffered = 0x3063'BBA7;  // the feature bits below 32 that the device offers

// The rule of 5.1.6.2 for what leaves, written down a second time.
void check_offload(const FrameOffload& offload, std::size_t frame_bytes, std::uint32_t features, unsigned checksum, unsigned tso4,
                   unsigned tso6, unsigned ecn) {
  const auto has = [&](unsigned bit) { return (features >> bit & 1) != 0; };
  if ((offload.flags & FrameOffload::kNeedsChecksum) != 0)
    US_CHECK(has(checksum) && offload.checksum_start >= 14 && offload.checksum_start + offload.checksum_offset + 2u <= frame_bytes);
  if (offload.segmentation == FrameOffload::kNone) return;
  US_CHECK((offload.flags & FrameOffload::kNeedsChecksum) != 0 && offload.segment_bytes != 0 && offload.header_bytes <= frame_bytes);
  const unsigned kind = offload.segmentation & 0x7fu;
  US_CHECK((kind == 1 && has(tso4)) || (kind == 4 && has(tso6)));
  US_CHECK((offload.segmentation & 0x80) == 0 || has(ecn));
}

class CheckingNet final : public NetBackend {
 public:
  bool offloads() const override { return true; }
  void set_receive_offloads(const Offloads& taken) override {
    US_CHECK(!taken.tcp_ipv4 || taken.checksum);
    US_CHECK(!taken.tcp_ipv6 || taken.checksum);
    US_CHECK(!taken.ecn || taken.tcp_ipv4 || taken.tcp_ipv6);
  }
  bool transmit(const FrameOffload& offload, std::span<const ConstBytes> pieces) override {
    std::size_t bytes = 0;
    for (const auto& piece : pieces) {
      US_CHECK(in_guest_memory(piece));
      bytes += piece.size();
    }
    US_CHECK(bytes >= 14 && bytes <= kMaxFrameBytes);
    check_offload(offload, bytes, features, 0, 11, 12, 13);
    US_CHECK((offload.flags & ~FrameOffload::kNeedsChecksum) == 0);
    if (!room) drain_fd(room_fd_.get());  // readable again when there is room
    return room;
  }
  int room_fd() const override { return room_fd_.get(); }
  std::expected<ReceivedFrame, NoFrame> receive(MutableBytes frame) override {
    drain_fd(receive_fd_.get());
    if (gone) return std::unexpected{NoFrame::kGone};
    if (waiting == 0) return std::unexpected{NoFrame::kNoneWaits};
    if (--waiting > 0) signal_fd(receive_fd_.get());
    US_CHECK(frame.size() >= kMaxFrameBytes && next.bytes <= frame.size());
    std::fill_n(frame.begin(), next.bytes, std::byte{0x42});
    return next;
  }
  int receive_fd() const override { return receive_fd_.get(); }

  std::uint32_t features = 0;  // as negotiated
  bool room = true;
  bool gone = false;
  unsigned waiting = 0;
  ReceivedFrame next{.bytes = 60, .offload = {}};

 private:
  UniqueFd room_fd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  UniqueFd receive_fd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

struct Specimen {
  explicit Specimen(std::uint32_t features) {
    net->features = features;
    device = *Net::create(slot("net0"), MacAddress{{2, 0, 0, 0, 0, 1}}, net, kPairs);
  }
  ~Specimen() { device->detach(); }

  std::shared_ptr<CheckingNet> net = std::make_shared<CheckingNet>();
  std::unique_ptr<Net> device;
};

class Driver {
 public:
  void start(Specimen& specimen, std::uint32_t features) {
    std::ranges::fill(bench().memory->file().subspan(kRings, kQueues * kRingBytes), std::byte{0});
    available_ = {};
    seen_ = {};
    broken_ = false;
    specimen.net->features = features;
    features_ = features;
    start_device(*specimen.device, features, kRings, kRingBytes);
  }
  // A chain of one to three descriptors over `bytes` of data at `at`, cut where the input says.
  void offer(InputReader& input, unsigned queue, std::uint64_t at, std::uint32_t bytes, std::uint16_t flags, std::uint32_t tail_bytes) {
    // Each chain keeps its two descriptors until it is used.
    if (static_cast<std::uint16_t>(available_[queue] - used_index(queue)) >= kRingSize / 2) return;
    const auto slot = static_cast<std::uint16_t>(available_[queue] * 2 % kRingSize);
    const auto second = static_cast<std::uint16_t>((slot + 1) % kRingSize);
    const std::uint32_t cut = std::min<std::uint32_t>(bytes, input.byte());
    const bool tail = tail_bytes > 0;
    if (tail) {
      put_value(ring(queue) + 16u * slot, RawDescriptor{at, bytes, static_cast<std::uint16_t>(flags | 1), second});
      put_value(ring(queue) + 16u * second, RawDescriptor{kData + 0x1000, tail_bytes, 2, 0});
    } else {
      put_value(ring(queue) + 16u * slot, RawDescriptor{at, cut, static_cast<std::uint16_t>(flags | 1), second});
      put_value(ring(queue) + 16u * second, RawDescriptor{at + cut, bytes - cut, flags, 0});
    }
    put_value(ring(queue) + 0x1004 + 2u * (available_[queue] % kRingSize), slot);
    put_value(ring(queue) + 0x1002, ++available_[queue]);
  }
  void break_ring(InputReader& input, unsigned queue) {
    broken_ = true;
    put_value(ring(queue) + 16u * (input.byte() % kRingSize),
              RawDescriptor{input.take<std::uint64_t>(), input.take<std::uint32_t>(), input.byte(), input.byte()});
    if (input.byte() % 2 == 0) put_value(ring(queue) + 0x1002, available_[queue] = input.take<std::uint16_t>());
  }
  // The latest frame of each pair keeps to what the guest took on. Not after damage, when a buffer may lie anywhere, nor with merging,
  // where it may be the middle of a frame.
  void look_at_received() {
    if (broken_ || has(net_wire::kFeatureMergeableBuffers)) return;
    for (unsigned pair = 0; pair < (has(net_wire::kFeatureMultiQueue) ? kPairs : 1); ++pair) {
      const std::uint64_t base = ring(Net::receive_queue(pair));
      const std::uint16_t used = used_index(Net::receive_queue(pair));
      if (std::exchange(seen_[pair], used) == used) continue;
      const auto entry = get_value<std::array<std::uint32_t, 2>>(base + 0x2004 + 8u * ((used - 1u) % kRingSize));
      const auto descriptor = get_value<RawDescriptor>(base + 16u * (entry[0] % kRingSize));
      if (descriptor.address < kReceiveBuffers) continue;  // a control request on the wrong queue
      const auto header = get_value<net_wire::Header>(descriptor.address);
      US_CHECK(header.buffer_count == 1 && entry[1] >= sizeof header + 14);
      check_offload(header.offload, entry[1] - sizeof header, features_, 1, 7, 8, 9);
      US_CHECK(header.offload.flags == 0 || has(net_wire::kFeatureGuestChecksum));
    }
  }
  bool has(unsigned bit) const { return (features_ >> bit & 1) != 0; }
  std::uint32_t features() const { return features_; }

 private:
  static std::uint64_t ring(unsigned queue) { return kRings + kRingBytes * queue; }
  std::array<std::uint16_t, kQueues> available_{};
  static std::uint16_t used_index(unsigned queue) { return get_value<std::uint16_t>(ring(queue) + 0x2002); }
  std::array<std::uint16_t, kPairs> seen_{};
  bool broken_ = false;
  std::uint32_t features_ = 0;
};

FrameOffload any_offload(InputReader& input) {
  FrameOffload offload{.flags = static_cast<std::uint8_t>(input.byte() % 4),
                       .segmentation = std::array<std::uint8_t, 8>{0, 0, 1, 4, 0x81, 0x84, 3, input.byte()}[input.byte() % 8],
                       .header_bytes = input.byte(),
                       .segment_bytes = static_cast<std::uint16_t>(input.byte() * 8),
                       .checksum_start = static_cast<std::uint16_t>(input.byte() % 64),
                       .checksum_offset = 16};
  if (input.byte() % 8 == 0) offload.checksum_start = input.take<std::uint16_t>();
  if (input.byte() % 8 == 0) offload.checksum_offset = input.take<std::uint16_t>();
  return offload;
}

void ask_control(InputReader& input, Driver& driver, unsigned queue) {
  std::array<std::uint8_t, 16> request{static_cast<std::uint8_t>(input.byte() % 7), static_cast<std::uint8_t>(input.byte() % 3)};
  for (std::size_t i = 2; i < request.size(); ++i) request[i] = i < 4 || input.byte() % 4 == 0 ? input.byte() : 0;
  if (request[0] == 4) request[3] = 0;
  put(kData + 0x800, std::as_bytes(std::span{request}));
  constexpr std::array<std::uint32_t, 7> kLengths{2, 2, 2, 2, 4, 10, 3};
  const std::uint32_t bytes = input.byte() % 8 == 0 ? input.byte() % 16u : kLengths[request[0]];
  driver.offer(input, queue, kData + 0x800, bytes, 0, input.byte() % 16 == 0 ? 0 : 1);
}

void run(InputReader input) {
  std::ranges::fill(bench().memory->file().first(kReceiveBuffers), std::byte{0});
  auto specimen = std::make_unique<Specimen>(0);
  specimen->device->resume();
  Driver driver;
  const auto choose_features = [&] {
    const std::uint32_t some = input.byte() % 4 == 0 ? input.take<std::uint32_t>() : ~std::uint32_t{0};
    return kOffered & some & ~(input.byte() % 2u << net_wire::kFeatureMergeableBuffers);
  };
  driver.start(*specimen, choose_features());
  for (unsigned steps = 0; !input.done() && steps < 300; ++steps) {
    const unsigned pair = input.byte() % kPairs;
    switch (input.byte() % 10) {
      case 0:
      case 1: {
        put_value(kData, net_wire::Header{.offload = any_offload(input), .buffer_count = input.byte()});
        driver.offer(input, Net::transmit_queue(pair), kData, input.byte() * (input.byte() % 4u == 0 ? 16u : 1u), 0, 0);
        write_register(*specimen->device, VIRTIO_MMIO_QUEUE_NOTIFY, Net::transmit_queue(pair));
        break;
      }
      case 2:
      case 3:
        driver.offer(input, Net::receive_queue(pair), kReceiveBuffers + kBufferBytes * (input.byte() % 32u + 32 * pair),
                     input.byte() % 8 == 0 ? input.byte() : static_cast<std::uint32_t>(kBufferBytes), 2, 0);
        write_register(*specimen->device, VIRTIO_MMIO_QUEUE_NOTIFY, Net::receive_queue(pair));
        break;
      case 4:
      case 5: {
        const unsigned queue = input.byte() % 4 == 0 ? input.byte() % kQueues : 2 * kPairs;
        ask_control(input, driver, queue);
        write_register(*specimen->device, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
        break;
      }
      case 6:
      case 7:
        specimen->net->next = {.bytes = input.byte() % 4 == 0 ? input.take<std::uint16_t>() : 14u + input.byte(),
                               .offload = any_offload(input)};
        specimen->net->waiting = input.byte() % 8;
        specimen->net->room = input.byte() % 4 != 0;
        specimen->net->gone = input.byte() % 64 == 0;
        signal_fd(specimen->net->receive_fd());
        signal_fd(specimen->net->room_fd());
        break;
      case 8:
        if (input.byte() % 4 == 0)
          driver.break_ring(input, input.byte() % kQueues);
        else
          specimen = migrate(std::move(specimen), [&] { return std::make_unique<Specimen>(driver.features()); });
        break;
      default:
        if (input.byte() % 4 == 0) driver.start(*specimen, choose_features());
    }
    settle();
    driver.look_at_received();
  }
}

}  // namespace
}  // namespace understudy::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  understudy::fuzz::run({data, size});
  return 0;
}
