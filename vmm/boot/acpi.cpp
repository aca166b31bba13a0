#include "vmm/boot/acpi.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <string_view>

#include <fmt/format.h>

#include "net/base/check.h"
#include "vmm/boot/aml.h"
#include "vmm/boot/memory_map.h"
#include "vmm/device_manager.h"

namespace understudy {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::string_view kClock = "PNP0B00";
constexpr std::uint8_t kAllProcessors = 0xFF;
constexpr std::uint16_t kActiveHighEdge = 0x05;  // MPS INTI flags (5.2.12.5)
constexpr std::uint16_t kEventPort = DeviceManager::kPowerPort;
constexpr std::uint16_t kControlPort = DeviceManager::kPowerPort + Power::kControlOffset;
// The reset control register of a PC (machine_event.h): full reset.
constexpr std::uint16_t kResetPort = 0xCF9;
constexpr std::uint8_t kResetValue = 0x06;

// Boot architecture flags (table 5.10) and feature flags (table 5.11); what is not there is 0.
constexpr std::uint16_t kLegacyDevices = 1 << 0;
constexpr std::uint16_t kNoVga = 1 << 2;
constexpr std::uint16_t kNoClock = 1 << 5;
constexpr std::uint32_t kWbinvd = 1 << 0;
constexpr std::uint32_t kC1 = 1 << 2;
constexpr std::uint32_t kNoSleepButton = 1 << 5;  // and the power button's flag clear: it is in the PM1 registers
constexpr std::uint32_t kNoFixedClock = 1 << 6;
constexpr std::uint32_t kHasReset = 1 << 10;
constexpr std::uint8_t kEnterpriseServer = 4;
constexpr std::uint16_t kNoC2 = 101;
constexpr std::uint16_t kNoC3 = 1001;

#pragma pack(push, 1)
struct Rsdp {
  char signature[8] = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '};
  std::uint8_t checksum = 0;  // of the first 20 bytes
  char oem[6] = {'U', 'N', 'D', 'R', 'S', 'T'};
  std::uint8_t revision = 2;
  std::uint32_t rsdt = 0;
  std::uint32_t bytes = 36;
  std::uint64_t xsdt = 0;
  std::uint8_t full_checksum = 0;
  std::uint8_t reserved[3] = {};
};
static_assert(sizeof(Rsdp) == 36 && offsetof(Rsdp, rsdt) == 16);

struct Header {
  std::array<char, 4> signature;
  std::uint32_t bytes = 0;
  std::uint8_t revision = 0;
  std::uint8_t checksum = 0;
  char oem[6] = {'U', 'N', 'D', 'R', 'S', 'T'};
  char table[8] = {'M', 'A', 'C', 'H', 'I', 'N', 'E', ' '};
  std::uint32_t table_revision = 1;
  char creator[4] = {'U', 'N', 'D', 'R'};
  std::uint32_t creator_revision = 1;
};
static_assert(sizeof(Header) == 36);

// Generic Address Structure (5.2.3.2), of a port.
struct PortAddress {
  std::uint8_t space = 1;
  std::uint8_t bits = 0;
  std::uint8_t offset = 0;
  std::uint8_t access = 0;  // 1: bytes, 2: words
  std::uint64_t port = 0;
};
struct NoAddress {
  std::uint8_t bytes[12] = {};
};

struct Fadt {  // table 5.9
  Header header{.signature = {'F', 'A', 'C', 'P'}, .revision = 6};
  std::uint32_t facs = 0;
  std::uint32_t dsdt = 0;
  std::uint8_t reserved1 = 0;
  std::uint8_t profile = kEnterpriseServer;
  std::uint16_t sci = DeviceManager::kPowerGsi;
  std::uint32_t smi_command = 0;  // none: ACPI is always on
  std::uint8_t acpi_enable = 0;
  std::uint8_t acpi_disable = 0;
  std::uint8_t s4bios = 0;
  std::uint8_t pstate = 0;
  std::uint32_t pm1a_event = kEventPort;
  std::uint32_t pm1b_event = 0;
  std::uint32_t pm1a_control = kControlPort;
  std::uint32_t pm1b_control = 0;
  std::uint32_t pm2_control = 0;
  std::uint32_t pm_timer = 0;
  std::uint32_t gpe0 = 0;
  std::uint32_t gpe1 = 0;
  std::uint8_t pm1_event_bytes = 4;
  std::uint8_t pm1_control_bytes = 2;
  std::uint8_t pm2_control_bytes = 0;
  std::uint8_t pm_timer_bytes = 0;
  std::uint8_t gpe0_bytes = 0;
  std::uint8_t gpe1_bytes = 0;
  std::uint8_t gpe1_base = 0;
  std::uint8_t cstate = 0;
  std::uint16_t c2_latency = kNoC2;
  std::uint16_t c3_latency = kNoC3;
  std::uint16_t flush_size = 0;
  std::uint16_t flush_stride = 0;
  std::uint8_t duty_offset = 0;
  std::uint8_t duty_width = 0;
  std::uint8_t day_alarm = 0;
  std::uint8_t month_alarm = 0;
  std::uint8_t century = 0;
  std::uint16_t boot_architecture = kLegacyDevices | kNoVga;
  std::uint8_t reserved2 = 0;
  std::uint32_t flags = kWbinvd | kC1 | kNoSleepButton | kNoFixedClock | kHasReset;
  PortAddress reset{.bits = 8, .access = 1, .port = kResetPort};
  std::uint8_t reset_value = kResetValue;
  std::uint16_t arm_boot_architecture = 0;
  std::uint8_t minor_revision = 4;
  std::uint64_t x_facs = 0;  // the 32-bit one counts
  std::uint64_t x_dsdt = 0;
  PortAddress x_pm1a_event{.bits = 32, .access = 2, .port = kEventPort};
  NoAddress x_pm1b_event;
  PortAddress x_pm1a_control{.bits = 16, .access = 2, .port = kControlPort};
  NoAddress x_pm1b_control, x_pm2_control, x_pm_timer, x_gpe0, x_gpe1, sleep_control, sleep_status;
  std::uint64_t hypervisor = 0;
};
static_assert(sizeof(Fadt) == 276 && offsetof(Fadt, reset) == 116 && offsetof(Fadt, x_dsdt) == 140);

struct Facs {  // table 5.12
  char signature[4] = {'F', 'A', 'C', 'S'};
  std::uint32_t bytes = 64;
  std::uint32_t hardware_signature = 0;
  std::uint32_t waking_vector = 0;
  std::uint32_t global_lock = 0;
  std::uint32_t flags = 0;
  std::uint64_t x_waking_vector = 0;
  std::uint8_t version = 2;
  std::uint8_t reserved[31] = {};
};
static_assert(sizeof(Facs) == 64);

struct MadtStart {  // 5.2.12
  std::uint32_t lapic = boot_map::kLapicAddress;
  std::uint32_t flags = 1;  // there are two PICs as well
};
struct LapicEntry {
  std::uint8_t type = 0;
  std::uint8_t bytes = 8;
  std::uint8_t processor = 0;
  std::uint8_t apic_id = 0;
  std::uint32_t flags = 1;  // enabled
};
struct IoapicEntry {
  std::uint8_t type = 1;
  std::uint8_t bytes = 12;
  std::uint8_t id = 0;
  std::uint8_t reserved = 0;
  std::uint32_t address = boot_map::kIoapicAddress;
  std::uint32_t first_gsi = 0;
};
struct OverrideEntry {
  std::uint8_t type = 2;
  std::uint8_t bytes = 10;
  std::uint8_t bus = 0;  // ISA
  std::uint8_t source = 0;
  std::uint32_t gsi = 0;
  std::uint16_t flags = kActiveHighEdge;
};
struct NmiEntry {
  std::uint8_t type = 4;
  std::uint8_t bytes = 6;
  std::uint8_t processor = kAllProcessors;
  std::uint16_t flags = 0;
  std::uint8_t pin = 1;
};
static_assert(sizeof(LapicEntry) == 8 && sizeof(IoapicEntry) == 12 && sizeof(OverrideEntry) == 10 && sizeof(NmiEntry) == 6);
#pragma pack(pop)

template <class T>
void append(Bytes& to, const T& value) {
  const auto bytes = std::as_bytes(std::span{&value, 1});
  to.insert(to.end(), bytes.begin(), bytes.end());
}

// What makes the bytes sum up to zero.
std::uint8_t checksum_for(std::span<const std::byte> bytes) {
  const unsigned sum =
      std::accumulate(bytes.begin(), bytes.end(), 0U, [](unsigned total, std::byte b) { return total + std::to_integer<unsigned>(b); });
  return static_cast<std::uint8_t>(-sum);
}

// A table that begins with a header: its length and checksum set.
Bytes finish(Bytes table) {
  const auto length = static_cast<std::uint32_t>(table.size());
  std::memcpy(table.data() + offsetof(Header, bytes), &length, sizeof length);
  table[offsetof(Header, checksum)] = std::byte{checksum_for(table)};
  return table;
}

Bytes make_madt(unsigned processors) {
  Bytes table;
  append(table, Header{.signature = {'A', 'P', 'I', 'C'}, .revision = 5});
  append(table, MadtStart{});
  for (unsigned i = 0; i < processors; ++i)
    append(table, LapicEntry{.processor = static_cast<std::uint8_t>(i), .apic_id = static_cast<std::uint8_t>(i)});
  append(table, IoapicEntry{.id = static_cast<std::uint8_t>(processors)});
  // The ISA lines are edge-triggered and active high without a word; of the SCI a guest would think otherwise.
  append(table, OverrideEntry{.source = DeviceManager::kPowerGsi, .gsi = DeviceManager::kPowerGsi});
  append(table, NmiEntry{});
  return finish(std::move(table));
}

Bytes device_term(const DeviceNode& node, unsigned index) {
  aml::Bytes resources;
  if (node.ports) resources = aml::join({resources, aml::io_ports(node.ports->start, node.ports->count)});
  if (node.memory)
    resources = aml::join({resources, aml::memory32_fixed(static_cast<std::uint32_t>(node.memory->start.raw()), node.memory->bytes)});
  if (node.gsi) resources = aml::join({resources, aml::edge_interrupt(*node.gsi)});
  return aml::device(fmt::format("D{:03X}", index),
                     aml::join({aml::name("_HID", aml::string(node.hardware_id)), aml::name("_UID", aml::integer(index)),
                                aml::name("_CCA", aml::integer(1)),  // DMA is coherent
                                aml::name("_CRS", aml::resource_template(resources))}));
}

Bytes make_dsdt(std::span<const DeviceNode> devices) {
  aml::Bytes terms;
  for (unsigned i = 0; i < devices.size(); ++i) terms = aml::join({terms, device_term(devices[i], i)});
  const auto zero = aml::integer(0);
  Bytes table;
  append(table, Header{.signature = {'D', 'S', 'D', 'T'}, .revision = 2});
  // \_S5: the sleep type that powers off, for PM1a and PM1b.
  const auto code = aml::join({aml::root_scope("_SB", terms), aml::name("_S5", aml::package({zero, zero, zero, zero}), true)});
  table.insert(table.end(), code.begin(), code.end());
  return finish(std::move(table));
}

Bytes make_fadt(std::uint32_t facs, std::uint32_t dsdt, bool has_clock) {
  Fadt fadt;
  fadt.facs = facs;
  fadt.dsdt = dsdt;
  fadt.x_dsdt = dsdt;
  if (!has_clock) fadt.boot_architecture |= kNoClock;
  Bytes table;
  append(table, fadt);
  return finish(std::move(table));
}

Bytes make_xsdt(std::initializer_list<std::uint64_t> tables) {
  Bytes table;
  append(table, Header{.signature = {'X', 'S', 'D', 'T'}, .revision = 1});
  for (const std::uint64_t each : tables) append(table, each);
  return finish(std::move(table));
}

Bytes make_rsdp(std::uint64_t xsdt) {
  Rsdp rsdp;
  rsdp.xsdt = xsdt;
  rsdp.checksum = checksum_for(std::as_bytes(std::span{&rsdp, 1}).first(offsetof(Rsdp, bytes)));
  rsdp.full_checksum = checksum_for(std::as_bytes(std::span{&rsdp, 1}));
  Bytes bytes;
  append(bytes, rsdp);
  return bytes;
}

}  // namespace

std::vector<std::byte> make_acpi_tables(unsigned processors, std::span<const DeviceNode> devices, GuestPhysicalAddress at) {
  constexpr std::size_t kAlignment = 64;  // the FACS's
  US_CHECK(processors >= 1 && processors <= 8 && at.raw() % kAlignment == 0 && at.raw() < 1ULL << 32);
  Bytes all(kAlignment);  // the RSDP comes last, to the front
  const auto place = [&](const Bytes& table) {
    all.resize((all.size() + kAlignment - 1) / kAlignment * kAlignment);
    const auto address = static_cast<std::uint32_t>(at.raw() + all.size());
    all.insert(all.end(), table.begin(), table.end());
    return address;
  };
  Bytes facs;
  append(facs, Facs{});
  const bool has_clock = std::ranges::any_of(devices, [](const DeviceNode& node) { return node.hardware_id == kClock; });
  const std::uint32_t facs_at = place(facs);
  const std::uint32_t dsdt_at = place(make_dsdt(devices));
  const std::uint32_t fadt_at = place(make_fadt(facs_at, dsdt_at, has_clock));
  const std::uint32_t madt_at = place(make_madt(processors));
  const std::uint32_t xsdt_at = place(make_xsdt({fadt_at, madt_at}));
  std::ranges::copy(make_rsdp(xsdt_at), all.begin());
  return all;
}

}  // namespace understudy
