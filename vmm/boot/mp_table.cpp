#include "vmm/boot/mp_table.h"

#include <array>
#include <cstdint>
#include <numeric>
#include <span>

#include "net/base/check.h"
#include "vmm/boot/memory_map.h"

namespace understudy {
namespace {

constexpr std::uint8_t kApicVersion = 0x14;    // of KVM's LAPIC
constexpr std::uint8_t kIoapicVersion = 0x11;  // of KVM's IOAPIC
constexpr std::uint8_t kIoapicPins = 24;
constexpr std::uint8_t kCascade = 2;
constexpr std::uint8_t kIsaBus = 0;
constexpr std::uint8_t kAllLapics = 0xFF;

struct FloatingPointer {
  char signature[4] = {'_', 'M', 'P', '_'};
  std::uint32_t table = 0;
  std::uint8_t paragraphs = 1;
  std::uint8_t revision = 4;
  std::uint8_t checksum = 0;
  std::uint8_t features[5] = {};
};
static_assert(sizeof(FloatingPointer) == 16);

struct Header {
  char signature[4] = {'P', 'C', 'M', 'P'};
  std::uint16_t bytes = 0;
  std::uint8_t revision = 4;
  std::uint8_t checksum = 0;
  char oem[8] = {'U', 'N', 'D', 'E', 'R', 'S', 'T', 'U'};
  char product[12] = {'M', 'A', 'C', 'H', 'I', 'N', 'E', ' ', ' ', ' ', ' ', ' '};
  std::uint32_t oem_table = 0;
  std::uint16_t oem_bytes = 0;
  std::uint16_t entries = 0;
  std::uint32_t lapic = boot_map::kLapicAddress;
  std::uint16_t extended_bytes = 0;
  std::uint8_t extended_checksum = 0;
  std::uint8_t reserved = 0;
};
static_assert(sizeof(Header) == 44);

struct Processor {
  std::uint8_t type = 0;
  std::uint8_t apic_id = 0;
  std::uint8_t apic_version = kApicVersion;
  std::uint8_t flags = 1;           // enabled; bit 1: the boot processor
  std::uint32_t signature = 0x600;  // family 6
  std::uint32_t features = 0x201;   // FPU and APIC
  std::uint32_t reserved[2] = {};
};
static_assert(sizeof(Processor) == 20);

struct BusEntry {
  std::uint8_t type = 1;
  std::uint8_t id = kIsaBus;
  char name[6] = {'I', 'S', 'A', ' ', ' ', ' '};
};
static_assert(sizeof(BusEntry) == 8);

struct IoapicEntry {
  std::uint8_t type = 2;
  std::uint8_t id = 0;
  std::uint8_t version = kIoapicVersion;
  std::uint8_t flags = 1;  // enabled
  std::uint32_t address = boot_map::kIoapicAddress;
};
static_assert(sizeof(IoapicEntry) == 8);

struct InterruptEntry {
  std::uint8_t type = 3;    // 3: to the IOAPIC; 4: to a LAPIC's local pin
  std::uint8_t kind = 0;    // 0: vectored; 1: NMI; 3: ExtINT
  std::uint16_t flags = 0;  // polarity and trigger as the bus has them
  std::uint8_t source_bus = kIsaBus;
  std::uint8_t source_irq = 0;
  std::uint8_t destination_apic = 0;
  std::uint8_t destination_pin = 0;
};
static_assert(sizeof(InterruptEntry) == 8);

class Table {
 public:
  template <class Entry>
  void add(const Entry& entry) {
    const auto bytes = std::as_bytes(std::span{&entry, 1});
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    ++entries_;
  }
  std::uint16_t entries() const { return entries_; }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
  std::uint16_t entries_ = 0;
};

// What makes the bytes sum up to zero.
std::uint8_t checksum_for(std::span<const std::byte> bytes) {
  const unsigned sum =
      std::accumulate(bytes.begin(), bytes.end(), 0U, [](unsigned total, std::byte b) { return total + std::to_integer<unsigned>(b); });
  return static_cast<std::uint8_t>(-sum);
}

Table make_entries(unsigned processors) {
  Table table;
  for (unsigned i = 0; i < processors; ++i)
    table.add(Processor{.apic_id = static_cast<std::uint8_t>(i), .flags = static_cast<std::uint8_t>(i == 0 ? 3 : 1)});
  const auto ioapic_id = static_cast<std::uint8_t>(processors);
  table.add(BusEntry{});
  table.add(IoapicEntry{.id = ioapic_id});
  for (std::uint8_t irq = 0; irq < kIoapicPins; ++irq) {
    if (irq == kCascade) continue;  // the second PIC hangs on it
    table.add(InterruptEntry{.source_irq = irq, .destination_apic = ioapic_id, .destination_pin = irq});
  }
  table.add(InterruptEntry{.type = 4, .kind = 3, .destination_apic = 0, .destination_pin = 0});           // LINT0: ExtINT
  table.add(InterruptEntry{.type = 4, .kind = 1, .destination_apic = kAllLapics, .destination_pin = 1});  // LINT1: NMI
  return table;
}

}  // namespace

std::vector<std::byte> make_mp_table(unsigned processors, GuestPhysicalAddress at) {
  US_CHECK(processors >= 1 && processors <= 8 && at.raw() % 16 == 0 && at.raw() < 0x10'0000);
  const Table entries = make_entries(processors);

  FloatingPointer pointer;
  pointer.table = static_cast<std::uint32_t>(at.raw() + sizeof pointer);
  pointer.checksum = checksum_for(std::as_bytes(std::span{&pointer, 1}));

  Header header;
  header.entries = entries.entries();
  header.bytes = static_cast<std::uint16_t>(sizeof header + entries.bytes().size());
  std::vector<std::byte> table;
  const auto append = [](std::vector<std::byte>& to, std::span<const std::byte> bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); };
  append(table, std::as_bytes(std::span{&header, 1}));
  append(table, entries.bytes());
  table[offsetof(Header, checksum)] = std::byte{checksum_for(table)};

  std::vector<std::byte> result;
  append(result, std::as_bytes(std::span{&pointer, 1}));
  append(result, table);
  return result;
}

}  // namespace understudy
