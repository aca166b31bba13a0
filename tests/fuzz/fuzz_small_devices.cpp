// The small devices under a hostile guest. The first byte chooses: virtio-rng or virtio-balloon, whole, with registers, ring content,
// kicks, target changes, and save and restore in between; or the real-time clock's chip, with time in the input's hands.
//
// Must never happen: a crash, a random byte outside the guest's buffers, a page given back that no buffer named, a twin that saves
// something else than it restored, a clock that tells a time that is none or waits for what has passed.
#include <algorithm>
#include <array>
#include <memory>

#include "device_bench.h"
#include "vmm/devices/balloon/balloon.h"
#include "vmm/devices/rng/rng.h"
#include "vmm/devices/rtc/mc146818.h"

namespace understudy::fuzz {
namespace {

constexpr std::uint64_t kRings = 0x1000;  // three, of 0x4000 bytes each
constexpr std::uint64_t kRingBytes = 0x4000;
constexpr std::uint64_t kTables = 0xD000;
constexpr std::uint64_t kNumbers = 0xE000;
constexpr std::uint64_t kData = 0x10000;  // 64 pages, whose content tells what became of them
constexpr std::uint64_t kEnd = 0x50000;
constexpr std::uint64_t kSentinels = 0x60000;  // 16 pages that no honest buffer names
constexpr std::size_t kAllowance = 20'000;

struct Specimen {
  explicit Specimen(bool is_rng) {
    if (is_rng) {
      const auto source = [this](MutableBytes out) {
        US_CHECK(out.size() <= Rng::kMaxAnswerBytes);
        given += out.size();
        std::ranges::fill(out, std::byte{0xAA});
        return out.size();
      };
      device = *Rng::create(slot("rng0"), source, {.bytes_per_interval = kAllowance, .interval = std::chrono::hours{1}});
    } else {
      auto made = *Balloon::create(slot("balloon0"), 5);
      balloon = made.get();
      device = std::move(made);
    }
  }
  ~Specimen() {
    device->detach();
    US_CHECK(given <= kAllowance);
  }

  std::size_t given = 0;
  std::unique_ptr<VirtioMmio> device;
  Balloon* balloon = nullptr;
};

std::uint64_t ring_base(unsigned queue) { return kRings + kRingBytes * queue; }

void start(VirtioMmio& device, std::uint8_t choice) {
  start_device(device, 1u << 28 | (choice % 2 == 0 ? 1u << 29 : 0), kRings, kRingBytes);
}

// Up to two buffers in the data pages, or numbers of them.
void offer(InputReader& input, bool is_rng, unsigned queue, std::array<std::uint16_t, 3>& available) {
  const std::uint64_t base = ring_base(queue);
  const auto head = static_cast<std::uint16_t>(input.byte() % kRingSize);
  const auto second = static_cast<std::uint16_t>((head + 1) % kRingSize);
  if (is_rng || queue == 2) {
    const auto more = static_cast<std::uint16_t>(input.byte() % 2);
    put_value(base + 16u * head, RawDescriptor{kData + input.byte() * 512u, input.take<std::uint16_t>() % 0x8000u,
                                               static_cast<std::uint16_t>(2 | more), second});
    put_value(base + 16u * second, RawDescriptor{kData + 0x20000 + input.byte() * 256u, input.byte() * 64u, 2, 0});
  } else {
    const unsigned count = input.byte() % 16;
    for (unsigned i = 0; i < count; ++i)
      put_value(kNumbers + 4u * i, input.byte() % 8 == 0 ? 0x400 + input.take<std::uint32_t>() % 0xFFFF'F000 : 0x10u + input.byte() % 64);
    put_value(base + 16u * head, RawDescriptor{kNumbers, 4 * count + input.byte() % 4, 0, 0});
  }
  put_value(base + 0x1004 + 2u * (available[queue] % kRingSize), head);
  put_value(base + 0x1002, ++available[queue]);
}

void run_virtio(InputReader input, bool is_rng) {
  auto& memory = *bench().memory;
  std::ranges::fill(memory.file().first(kData), std::byte{0});
  std::ranges::fill(memory.file().subspan(kData, kEnd - kData), std::byte{0x55});
  std::ranges::fill(memory.file().subspan(kSentinels, 16 * kPageSizeBytes), std::byte{0x66});
  auto specimen = std::make_unique<Specimen>(is_rng);
  specimen->device->resume();
  const auto make = [is_rng] { return std::make_unique<Specimen>(is_rng); };
  std::array<std::uint16_t, 3> available{};
  bool honest = true;  // no descriptor and no register of the input's own making: the sentinels must stand
  if (input.byte() % 8 != 0) start(*specimen->device, input.byte());
  for (unsigned steps = 0; !input.done() && steps < 300; ++steps) {
    VirtioMmio& device = *specimen->device;
    const unsigned queue = input.byte() % device.queue_count();
    switch (input.byte() % 12) {
      case 0:
        honest = false;
        put_value(input.byte() % 2 == 0 ? kTables + 16u * (input.byte() % 64) : ring_base(queue) + 16u * (input.byte() % kRingSize),
                  RawDescriptor{input.byte() % 4 == 0 ? input.take<std::uint64_t>() : kTables + std::uint64_t{input.byte()} * 64,
                                input.byte() % 4 == 0 ? input.take<std::uint32_t>() : 16u * input.byte(),
                                static_cast<std::uint16_t>(input.byte() % 8), input.byte()});
        break;
      case 1:
      case 2:
      case 3:
        offer(input, is_rng, queue, available);
        break;
      case 4:
        put_value(ring_base(queue) + 0x1002, available[queue] = input.take<std::uint16_t>());
        break;
      case 5:
      case 6:
        write_register(device, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
        break;
      case 7:
        honest = false;
        write_register(device, input.byte() % 4 == 0 ? input.take<std::uint16_t>() % 4096u : input.byte() & ~3u,
                       input.byte() % 2 == 0 ? input.byte() : input.take<std::uint32_t>());
        break;
      case 8: {
        std::array<std::byte, 8> bytes;
        device.read(input.take<std::uint16_t>() % 4096u, std::span{bytes}.first(std::size_t{1} << (input.byte() % 4)));
        break;
      }
      case 9:
        if (specimen->balloon != nullptr) (void)specimen->balloon->set_target(input.take<std::uint16_t>());
        break;
      case 10:
        start(device, input.byte());
        available = {};
        std::ranges::fill(memory.file().subspan(kRings, 3 * kRingBytes), std::byte{0});
        break;
      default: {
        const bool damage = input.byte() % 4 == 0;
        honest = honest && !damage;
        specimen = damage ? migrate_damaged(std::move(specimen), input, make) : migrate(std::move(specimen), make);
      }
    }
    settle();
  }
  if (!honest) return;
  const auto stands = [&](std::uint64_t at, std::size_t length, std::byte value) {
    return std::ranges::all_of(memory.file().subspan(at, length), [value](std::byte byte) { return byte == value; });
  };
  US_CHECK(stands(kSentinels, 16 * kPageSizeBytes, std::byte{0x66}));
  for (std::uint64_t at = kData; at < kEnd; at += kPageSizeBytes) {
    const auto page = memory.file().subspan(at, kPageSizeBytes);
    const std::byte other = is_rng ? std::byte{0xAA} : std::byte{0};
    // The balloon takes whole pages, and leaves the others wholly.
    US_CHECK(std::ranges::all_of(page, [other](std::byte byte) { return byte == other || byte == std::byte{0x55}; }));
    US_CHECK(is_rng || std::ranges::all_of(page, [&](std::byte byte) { return byte == page[0]; }));
  }
}

void run_clock(InputReader input) {
  constexpr std::int64_t kStart = 1'700'000'000'000'000'000;
  std::int64_t now = 0;
  Mc146818 chip{kStart, std::uint64_t{1} << 30};
  while (!input.done()) {
    const auto index = static_cast<std::uint8_t>(input.byte() % 4 == 0 ? input.byte() : input.byte() % 14);
    switch (input.byte() % 6) {
      case 0:
      case 1:
        chip.write(index, input.byte(), now);
        break;
      case 2:
        (void)chip.read(index, now);
        break;
      case 3:
        now += input.take<std::uint32_t>();
        break;
      case 4:
        now += std::int64_t{input.take<std::uint16_t>()} * 1'000'000'000;
        break;
      default: {
        // A twin is the same chip, however its time began.
        const std::int64_t wall = chip.wall_ns(now);
        Mc146818 twin{0, 0};
        twin.restore(chip.registers(), wall, 5);
        US_CHECK(twin.wall_ns(5) == wall && twin.registers() == chip.registers());
        chip = twin;
        now = 5;
      }
    }
    US_CHECK(chip.wall_ns(now) >= Mc146818::kEarliestNs && chip.wall_ns(now) <= Mc146818::kLatestNs);
    chip.advance(now);
    if (const auto next = chip.next_event(now)) {
      US_CHECK(*next > now);
      Mc146818 later = chip;
      later.advance(*next);
      US_CHECK(later.interrupt_pending());
    }
  }
}

}  // namespace
}  // namespace understudy::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace understudy;
  using namespace understudy::fuzz;
  InputReader input{data, size};
  const std::uint8_t choice = input.byte();
  if (choice % 4 == 3) {
    run_clock(input);
  } else {
    run_virtio(input, choice % 2 == 0);
  }
  return 0;
}
