// A whole virtio-net or virtio-blk device, driven as a hostile guest would: registers, ring content, kicks, resets, with host events and
// save and restore in between. It must survive; what it asks of its backend must keep to the backend's contract.
#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include <linux/virtio_config.h>
#include <sys/eventfd.h>

#include "device_bench.h"
#include "vmm/devices/blk/blk.h"
#include "vmm/devices/net/net.h"

namespace understudy::fuzz {
namespace {

constexpr std::uint64_t kRings = 0x1000;  // up to three, of 0x4000 bytes each
constexpr std::uint64_t kRingBytes = 0x4000;
constexpr std::uint64_t kMaxRings = 3;
constexpr std::uint64_t kTables = kRings + kMaxRings * kRingBytes;
constexpr std::uint64_t kData = kTables + 0x1000;
constexpr std::uint64_t kEnd = kData + 0x6000;
constexpr std::uint64_t kDiskBytes = 64 << 10;

class CheckingNet final : public NetBackend {
 public:
  bool offloads() const override { return true; }
  void set_receive_offloads(const Offloads&) override {}
  bool transmit(const FrameOffload&, std::span<const ConstBytes> pieces) override {
    std::size_t bytes = 0;
    for (const auto& piece : pieces) {
      US_CHECK(in_guest_memory(piece));
      bytes += piece.size();
    }
    US_CHECK(bytes >= 14 && bytes <= kMaxFrameBytes);
    if (!room) drain_fd(room_fd_.get());  // readable again when there is room
    return room;
  }
  int room_fd() const override { return room_fd_.get(); }
  std::expected<ReceivedFrame, NoFrame> receive(MutableBytes frame) override {
    if (waiting == 0) {
      drain_fd(receive_fd_.get());
      return std::unexpected{NoFrame::kNoneWaits};
    }
    --waiting;
    US_CHECK(frame.size() >= kMaxFrameBytes);
    std::fill_n(frame.begin(), frame_bytes, std::byte{0x42});
    return ReceivedFrame{.bytes = frame_bytes, .offload = {}};
  }
  int receive_fd() const override { return receive_fd_.get(); }

  bool room = true;
  unsigned waiting = 0;
  std::size_t frame_bytes = 60;

 private:
  UniqueFd room_fd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  UniqueFd receive_fd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

class CheckingDisk final : public BlockBackend {
 public:
  std::uint64_t capacity_bytes() const override { return kDiskBytes; }
  bool read_only() const override { return false; }
  std::string serial_number() const override { return "a serial number that is too long"; }
  bool submit(const BlockRequest& request) override {
    std::uint64_t bytes = 0;
    for (const auto& piece : request.memory) {
      US_CHECK(in_guest_memory(piece));
      bytes += piece.size();
    }
    US_CHECK(bytes % kSectorBytes == 0 && request.offset_bytes % kSectorBytes == 0);
    US_CHECK(request.offset_bytes <= kDiskBytes && bytes <= kDiskBytes - request.offset_bytes);
    const bool moves_bytes = request.operation == BlockOperation::kRead || request.operation == BlockOperation::kWrite;
    US_CHECK(moves_bytes == (bytes != 0));
    US_CHECK((request.operation == BlockOperation::kZeros) == !request.extents.empty());
    for (const BlockExtent& extent : request.extents) {
      US_CHECK(extent.length_bytes != 0 && extent.length_bytes % kSectorBytes == 0 && extent.offset_bytes % kSectorBytes == 0);
      US_CHECK(extent.offset_bytes <= kDiskBytes && extent.length_bytes <= kDiskBytes - extent.offset_bytes);
    }
    US_CHECK(std::ranges::find(in_flight, request.cookie) == in_flight.end());
    if (in_flight.size() == limit) return false;
    in_flight.push_back(request.cookie);
    return true;
  }
  int completion_fd() const override { return fd_.get(); }
  std::size_t reap(std::span<BlockCompletion> completions) override {
    std::size_t count = 0;
    drain_fd(fd_.get());
    while (count < completions.size() && completing > 0 && !in_flight.empty()) {
      const auto which = in_flight.begin() + static_cast<std::ptrdiff_t>(completing % in_flight.size());
      completions[count++] = {*which};
      in_flight.erase(which);
      --completing;
    }
    if (count == completions.size()) signal_fd(fd_.get());
    return count;
  }
  bool abandon_in_flight(std::chrono::nanoseconds) override {
    in_flight.clear();
    return true;
  }

  std::size_t limit = 6;
  unsigned completing = 0;
  std::vector<BlockCookie> in_flight;

 private:
  UniqueFd fd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

// One device of either kind with its backend, which is the loop's while the device runs.
struct Specimen {
  explicit Specimen(bool is_net) {
    if (is_net) {
      net = std::make_shared<CheckingNet>();
      device = *Net::create(slot("net0"), MacAddress{{2, 0, 0, 0, 0, 1}}, net, 1);
    } else {
      disk = std::make_shared<CheckingDisk>();
      device = *Blk::create(slot("blk0"), disk);
    }
  }
  ~Specimen() { device->detach(); }
  bool disk_is_busy() const { return disk != nullptr && !disk->in_flight.empty(); }

  std::shared_ptr<CheckingNet> net;
  std::shared_ptr<CheckingDisk> disk;
  std::unique_ptr<VirtioMmio> device;
};

std::uint64_t ring_base(unsigned queue) { return kRings + kRingBytes * queue; }

void start(VirtioMmio& device, std::uint8_t choice) {
  std::uint32_t features = 1u << 28 | 1u << 29 | 1u << 15 | 1u << 14 | 1u << 13 | 1u << 9;
  if ((choice & 1) != 0) features &= ~(1u << 29);
  if ((choice & 2) != 0) features &= ~(1u << 15);
  if ((choice & 4) != 0) features &= ~(1u << 13 | 1u << 9);
  features &= device.queue_count() > 1 ? ~(1u << 14 | 1u << 13 | 1u << 9) : ~(1u << 15);
  start_device(device, features, kRings, kRingBytes);
}

// One request that is likely whole: readable header, data, writable tail.
void offer_request(InputReader& input, unsigned queue, std::array<std::uint16_t, kMaxRings>& available) {
  const std::uint64_t base = ring_base(queue);
  const auto head = static_cast<std::uint16_t>(input.byte() % kRingSize);
  const std::uint64_t header = kData + std::uint64_t{input.byte()} * 16;
  put_value(header, std::array<std::uint64_t, 2>{std::uint64_t{input.byte() % 16u}, std::uint64_t{input.byte()}});
  const auto data_flags = static_cast<std::uint16_t>(1 | (input.byte() % 2 * 2));
  const auto second = static_cast<std::uint16_t>((head + 1) % kRingSize);
  const auto third = static_cast<std::uint16_t>((head + 2) % kRingSize);
  put_value(base + 16u * head, RawDescriptor{header, 16, 1, second});
  // Sectors of data, or ranges of a discard: those are read from what stands there.
  const std::uint32_t data_bytes = input.byte() % 2 == 0 ? 512u * (input.byte() % 4) : 16u * (input.byte() % 20);
  if (data_bytes % 512 != 0)
    for (std::uint32_t at = 0; at < data_bytes; at += 16)
      put_value(kData + 0x2000 + at,
                std::array<std::uint32_t, 4>{input.byte(), 0, input.byte(), input.byte() % 8 == 0 ? input.byte() : 0u});
  put_value(base + 16u * second, RawDescriptor{kData + 0x2000, data_bytes, data_flags, third});
  put_value(base + 16u * third, RawDescriptor{kData + 0x5000, 1u + input.byte(), 2, 0});
  const std::uint16_t offered = queue == 0 && input.byte() % 2 == 0 ? third : head;
  put_value(base + 0x1004 + 2u * (available[queue] % kRingSize), offered);
  put_value(base + 0x1002, ++available[queue]);
}

void set_host(Specimen& specimen, InputReader& input) {
  if (specimen.net) {
    specimen.net->room = input.byte() % 4 != 0;
    specimen.net->waiting = input.byte() % 16;
    specimen.net->frame_bytes = input.byte() % 4 == 0 ? input.take<std::uint16_t>() : 14u + input.byte();
    signal_fd(specimen.net->room_fd());
    signal_fd(specimen.net->receive_fd());
  } else {
    specimen.disk->limit = 1 + input.byte() % 8;
    specimen.disk->completing = input.byte() % 16;
    signal_fd(specimen.disk->completion_fd());
  }
}

void run(InputReader input) {
  auto& memory = *bench().memory;
  std::ranges::fill(memory.file().first(kEnd), std::byte{0});
  const bool is_net = input.byte() % 2 == 0;
  auto specimen = std::make_unique<Specimen>(is_net);
  specimen->device->resume();
  const auto make = [is_net] { return std::make_unique<Specimen>(is_net); };
  std::array<std::uint16_t, kMaxRings> available{};
  if (input.byte() % 8 != 0) start(*specimen->device, input.byte());

  for (unsigned steps = 0; !input.done() && steps < 500; ++steps) {
    VirtioMmio& device = *specimen->device;
    const unsigned queue = is_net ? static_cast<unsigned>(input.byte() % kMaxRings) : 0u;
    switch (input.byte() % 14) {
      case 0: {
        const RawDescriptor descriptor{input.byte() % 4 == 0 ? input.take<std::uint64_t>() : kTables + std::uint64_t{input.byte()} * 64,
                                       input.byte() % 4 == 0 ? input.take<std::uint32_t>() : 16u * input.byte(),
                                       static_cast<std::uint16_t>(input.byte() % 8), input.byte()};
        put_value(input.byte() % 2 == 0 ? kTables + 16u * (input.byte() % 64) : ring_base(queue) + 16u * (input.byte() % kRingSize),
                  descriptor);
        break;
      }
      case 1:
      case 2:
      case 3:
        offer_request(input, queue, available);
        break;
      case 4:
        put_value(ring_base(queue) + 0x1002, available[queue] = input.take<std::uint16_t>());
        break;
      case 5:
      case 6:
        write_register(device, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
        break;
      case 7: {
        const std::uint64_t offset = input.byte() % 4 == 0 ? input.take<std::uint16_t>() % 4096u : input.byte() & ~3u;
        const std::uint32_t value = input.byte() % 2 == 0 ? input.byte() : input.take<std::uint32_t>();
        // A reset with requests in flight waits for the disk for a while: rarely.
        if (offset == VIRTIO_MMIO_STATUS && value == 0 && input.byte() != 0 && specimen->disk_is_busy()) break;
        write_register(device, offset, value);
        break;
      }
      case 8: {
        std::array<std::byte, 8> bytes;
        device.read(input.take<std::uint16_t>() % 4096u, std::span{bytes}.first(std::size_t{1} << (input.byte() % 4)));
        break;
      }
      case 9:
        set_host(*specimen, input);
        break;
      case 10:
        US_CHECK(device.quiesce().has_value());
        device.resume();
        break;
      case 11:
        if (!specimen->disk_is_busy()) start(device, input.byte());
        available = {};
        std::ranges::fill(memory.file().subspan(kRings, kMaxRings * kRingBytes), std::byte{0});
        break;
      case 12:
        if (input.byte() % 4 == 0) specimen = migrate(std::move(specimen), make);  // a new device costs as much as many requests
        break;
      default:
        if (input.byte() % 8 == 0) specimen = migrate_damaged(std::move(specimen), input, make);
    }
    settle();
  }
}

}  // namespace
}  // namespace understudy::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  understudy::fuzz::run({data, size});
  return 0;
}
