// A whole virtio-net or virtio-blk device, driven as a hostile guest would: registers, ring content, kicks, resets, with host events and
// save and restore in between. It must survive; what it asks of its backend must keep to the backend's contract.
#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <unistd.h>
#include <vector>

#include <capnp/message.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <sys/eventfd.h>

#include "input_reader.h"
#include "net/base/check.h"
#include "net/base/event_loop.h"
#include "vmm/devices/blk/blk.h"
#include "vmm/devices/net/net.h"

namespace understudy {
namespace {

constexpr std::uint64_t kRings = 0x1000;  // up to three, of 0x4000 bytes each
constexpr std::uint64_t kRingBytes = 0x4000;
constexpr std::uint64_t kMaxRings = 3;
constexpr std::uint64_t kTables = kRings + kMaxRings * kRingBytes;
constexpr std::uint64_t kData = kTables + 0x1000;
constexpr std::uint64_t kEnd = kData + 0x6000;
constexpr std::uint16_t kSize = 8;
constexpr std::uint64_t kDiskBytes = 64 << 10;

struct Host {
  MonotonicClock clock;
  std::shared_ptr<GuestMemory> memory = *GuestMemory::create(GuestMemory::kMinBytes);
  std::unique_ptr<LoopThread> thread = *LoopThread::start(clock, "devices");
  EventLoop& loop() { return thread->loop(); }
};
Host& host() {
  static Host host;
  return host;
}
void on_loop(EventLoop::Callback call) { US_CHECK(host().loop().post_and_wait(std::move(call), std::chrono::seconds{30})); }
// All that was signalled before has been handled after: the second message runs in a turn that polled since.
void settle() {
  on_loop([] {});
  on_loop([] {});
}
void signal_fd(int fd) {
  const std::uint64_t one = 1;
  US_CHECK(::write(fd, &one, sizeof one) == static_cast<ssize_t>(sizeof one));
}
void drain_fd(int fd) {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(fd, &count, sizeof count);
}
bool in_guest_memory(ConstBytes bytes) {
  const auto file = host().memory->file();
  return bytes.data() >= file.data() && bytes.data() + bytes.size() <= file.data() + file.size();
}

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
    const auto slot = [&](const char* id) { return VirtioSlot{id, GuestPhysicalAddress{0xD000'0000}, host().memory, &host().loop()}; };
    if (is_net) {
      net = std::make_shared<CheckingNet>();
      device = *Net::create(slot("net0"), MacAddress{{2, 0, 0, 0, 0, 1}}, net, 1);
    } else {
      disk = std::make_shared<CheckingDisk>();
      device = *Blk::create(slot("blk0"), disk);
    }
  }
  ~Specimen() {
    on_loop([this] { device->detach(); });
  }
  void quiesce() {
    on_loop([this] { US_CHECK(device->quiesce().has_value()); });
  }
  void resume() {
    on_loop([this] { device->resume(); });
  }
  bool disk_is_busy() {
    bool busy = false;
    on_loop([&] { busy = disk != nullptr && !disk->in_flight.empty(); });
    return busy;
  }

  std::shared_ptr<CheckingNet> net;
  std::shared_ptr<CheckingDisk> disk;
  std::unique_ptr<VirtioMmio> device;
};

void put(std::uint64_t at, ConstBytes bytes) { US_CHECK(host().memory->write(GuestPhysicalAddress{at}, bytes)); }
template <class T>
void put_value(std::uint64_t at, const T& value) {
  put(at, std::as_bytes(std::span{&value, 1}));
}
void write_register(Device& device, std::uint64_t offset, std::uint32_t value) {
  device.write(offset, std::as_bytes(std::span{&value, 1}));
}

std::uint64_t ring_base(unsigned queue) { return kRings + kRingBytes * queue; }

void start(VirtioMmio& device, std::uint8_t choice) {
  write_register(device, VIRTIO_MMIO_STATUS, 0);
  write_register(device, VIRTIO_MMIO_STATUS, 3);
  std::uint32_t features = 1u << 28 | 1u << 29 | 1u << 15 | 1u << 14 | 1u << 13 | 1u << 9;
  if ((choice & 1) != 0) features &= ~(1u << 29);
  if ((choice & 2) != 0) features &= ~(1u << 15);
  if ((choice & 4) != 0) features &= ~(1u << 13 | 1u << 9);
  features &= device.queue_count() > 1 ? ~(1u << 14 | 1u << 13 | 1u << 9) : ~(1u << 15);
  write_register(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
  write_register(device, VIRTIO_MMIO_DRIVER_FEATURES, features);
  write_register(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
  write_register(device, VIRTIO_MMIO_DRIVER_FEATURES, 1);
  write_register(device, VIRTIO_MMIO_STATUS, 11);
  for (unsigned queue = 0; queue < device.queue_count(); ++queue) {
    const auto base = static_cast<std::uint32_t>(ring_base(queue));
    write_register(device, VIRTIO_MMIO_QUEUE_SEL, queue);
    write_register(device, VIRTIO_MMIO_QUEUE_NUM, kSize);
    write_register(device, VIRTIO_MMIO_QUEUE_DESC_LOW, base);
    write_register(device, VIRTIO_MMIO_QUEUE_AVAIL_LOW, base + 0x1000);
    write_register(device, VIRTIO_MMIO_QUEUE_USED_LOW, base + 0x2000);
    write_register(device, VIRTIO_MMIO_QUEUE_READY, 1);
  }
  write_register(device, VIRTIO_MMIO_STATUS, 15);
}

struct RawDescriptor {
  std::uint64_t address;
  std::uint32_t length;
  std::uint16_t flags;
  std::uint16_t next;
};

// One request that is likely whole: readable header, data, writable tail.
void offer_request(InputReader& input, unsigned queue, std::array<std::uint16_t, kMaxRings>& available) {
  const std::uint64_t base = ring_base(queue);
  const auto head = static_cast<std::uint16_t>(input.byte() % kSize);
  const std::uint64_t header = kData + std::uint64_t{input.byte()} * 16;
  put_value(header, std::array<std::uint64_t, 2>{std::uint64_t{input.byte() % 16u}, std::uint64_t{input.byte()}});
  const auto data_flags = static_cast<std::uint16_t>(1 | (input.byte() % 2 * 2));
  const auto second = static_cast<std::uint16_t>((head + 1) % kSize);
  const auto third = static_cast<std::uint16_t>((head + 2) % kSize);
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
  put_value(base + 0x1004 + 2u * (available[queue] % kSize), offered);
  put_value(base + 0x1002, ++available[queue]);
}

void set_host(Specimen& specimen, InputReader& input) {
  on_loop([&] {
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
  });
}

// Saves, restores a twin, which must save the same.
std::unique_ptr<Specimen> migrate(std::unique_ptr<Specimen> from, bool is_net) {
  from->quiesce();
  capnp::MallocMessageBuilder message;
  auto saved = message.initRoot<schema::DeviceState>();
  from->device->save(saved);
  auto twin = std::make_unique<Specimen>(is_net);
  const auto restored = twin->device->restore(saved.asReader());
  US_CHECK(restored.has_value());
  capnp::MallocMessageBuilder again;
  twin->device->save(again.initRoot<schema::DeviceState>());
  const auto segments = message.getSegmentsForOutput();
  const auto same = again.getSegmentsForOutput();
  US_CHECK(segments.size() == same.size());
  for (std::size_t i = 0; i < segments.size(); ++i) US_CHECK(std::ranges::equal(segments[i].asBytes(), same[i].asBytes()));
  twin->resume();
  return twin;
}

// Damages a saved state; check() and restore() must agree on it, and a device that took it must live.
std::unique_ptr<Specimen> damage(std::unique_ptr<Specimen> from, bool is_net, InputReader& input) {
  from->quiesce();
  capnp::MallocMessageBuilder message;
  from->device->save(message.initRoot<schema::DeviceState>());
  const auto segments = message.getSegmentsForOutput();
  std::vector<capnp::word> words(segments[0].begin(), segments[0].end());
  auto bytes = std::span{reinterpret_cast<std::uint8_t*>(words.data()), words.size() * sizeof(capnp::word)};
  for (unsigned count = 1 + input.byte() % 4; count > 0; --count) bytes[input.take<std::uint16_t>() % bytes.size()] ^= input.byte();
  const kj::ArrayPtr<const capnp::word> segment{words.data(), words.size()};
  const kj::ArrayPtr<const capnp::word> table[] = {segment};
  capnp::SegmentArrayMessageReader reader{table, {.traversalLimitInWords = 1 << 16, .nestingLimit = 16}};
  auto twin = std::make_unique<Specimen>(is_net);
  std::optional<schema::DeviceState::Reader> state;
  try {
    state = reader.getRoot<schema::DeviceState>();
  } catch (const kj::Exception&) {
  }
  if (state) {
    const bool accepted = twin->device->check(*state).has_value();
    US_CHECK(twin->device->restore(*state).has_value() == accepted);
  }
  twin->resume();
  return twin;
}

void run(InputReader input) {
  auto& memory = *host().memory;
  std::ranges::fill(memory.file().first(kEnd), std::byte{0});
  const bool is_net = input.byte() % 2 == 0;
  auto specimen = std::make_unique<Specimen>(is_net);
  specimen->resume();
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
        put_value(input.byte() % 2 == 0 ? kTables + 16u * (input.byte() % 64) : ring_base(queue) + 16u * (input.byte() % kSize),
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
        specimen->quiesce();
        specimen->resume();
        break;
      case 11:
        if (!specimen->disk_is_busy()) start(device, input.byte());
        available = {};
        std::ranges::fill(memory.file().subspan(kRings, kMaxRings * kRingBytes), std::byte{0});
        break;
      case 12:
        specimen = migrate(std::move(specimen), is_net);
        break;
      default:
        if (input.byte() % 4 == 0) specimen = damage(std::move(specimen), is_net, input);
    }
    settle();
  }
}

}  // namespace
}  // namespace understudy

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  understudy::run({data, size});
  return 0;
}
