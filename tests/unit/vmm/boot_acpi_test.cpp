// The ACPI tables as a guest walks them, and the AML that they hold, byte by byte and by a small interpreter of our own.
#include <algorithm>
#include <cstring>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/boot_bytes.h"
#include "vmm/boot/acpi.h"
#include "vmm/boot/aml.h"
#include "vmm/boot/memory_map.h"

namespace understudy {
namespace {

using Span = std::span<const std::byte>;

aml::Bytes hex(std::initializer_list<unsigned> values) {
  aml::Bytes bytes;
  for (const unsigned value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}
std::string text_at(Span bytes, std::size_t offset, std::size_t length) {
  return {reinterpret_cast<const char*>(bytes.data()) + offset, length};
}

TEST(Aml, IntegersTakeTheShortestForm) {
  EXPECT_EQ(aml::integer(0), hex({0x00}));
  EXPECT_EQ(aml::integer(1), hex({0x01}));
  EXPECT_EQ(aml::integer(2), hex({0x0A, 0x02}));
  EXPECT_EQ(aml::integer(0x1234), hex({0x0B, 0x34, 0x12}));
  EXPECT_EQ(aml::integer(0x1'0000), hex({0x0C, 0, 0, 1, 0}));
  EXPECT_EQ(aml::integer(1ULL << 32), hex({0x0E, 0, 0, 0, 0, 1, 0, 0, 0}));
}

TEST(Aml, NamesArePaddedToFour) {
  EXPECT_EQ(aml::name("_S5", aml::integer(1), true), hex({0x08, 0x5C, '_', 'S', '5', '_', 0x01}));
  EXPECT_EQ(aml::name("_HID", aml::string("A")), hex({0x08, '_', 'H', 'I', 'D', 0x0D, 'A', 0x00}));
  EXPECT_EQ(aml::package({aml::integer(0), aml::integer(5)}), hex({0x12, 0x05, 0x02, 0x00, 0x0A, 0x05}));
}

// A package's length counts its own bytes, so each size has an edge of its own.
TEST(Aml, LengthsCountThemselves) {
  const auto length_of = [](std::size_t terms) {
    const auto bytes = aml::device("DEV", aml::Bytes(terms, std::byte{0}));
    return std::pair{aml::Bytes(bytes.begin() + 2, bytes.begin() + 6), bytes.size()};
  };
  // 4 of the name. In the first byte alone: up to 63.
  EXPECT_EQ(length_of(58).first[0], std::byte{0x3F});
  EXPECT_EQ(length_of(58).second, 2 + 63U);
  EXPECT_EQ(length_of(59).first, hex({0x41, 0x04, 'D', 'E'}));  // 0x41 bytes
  EXPECT_EQ(length_of(59).second, 2 + 0x41U);
  EXPECT_EQ(length_of(0xFFF - 6).first, hex({0x4F, 0xFF, 'D', 'E'}));
  EXPECT_EQ(length_of(0xFFF - 5).first, hex({0x81, 0x00, 0x01, 'D'}));  // 0x1001 bytes
  EXPECT_EQ(length_of(0xFFF - 5).second, 2 + 0x1001U);
}

TEST(Aml, ResourcesAreTheSpecificationsDescriptors) {
  EXPECT_EQ(aml::io_ports(0x3F8, 8), hex({0x47, 0x01, 0xF8, 0x03, 0xF8, 0x03, 0x01, 0x08}));
  EXPECT_EQ(aml::memory32_fixed(0xD000'0000, 0x1000), hex({0x86, 9, 0, 1, 0, 0, 0, 0xD0, 0, 0x10, 0, 0}));
  EXPECT_EQ(aml::edge_interrupt(5), hex({0x89, 6, 0, 0x03, 1, 5, 0, 0, 0}));
  EXPECT_EQ(aml::resource_template(hex({0xAA})), hex({0x11, 0x06, 0x0A, 0x03, 0xAA, 0x79, 0x00}));
}

// Reads exactly what the writer writes; anything else fails.
class AmlReader {
 public:
  struct Device {
    std::string hardware_id;
    std::uint64_t unique_id = ~0ULL;
    bool coherent = false;
    std::string resources;  // "io 3f8+8, memory d0000000+1000, edge 5"
  };
  explicit AmlReader(Span code) : code_{code} {
    while (at_ < code_.size()) term("");
  }
  std::map<std::string, Device> devices;
  std::string sleep_s5;

 private:
  unsigned byte() { return at_ < code_.size() ? std::to_integer<unsigned>(code_[at_++]) : (ADD_FAILURE() << "past the end", 0U); }
  std::uint64_t number(std::size_t count) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < count; ++i) value |= std::uint64_t{byte()} << 8 * i;
    return value;
  }
  std::size_t package_end() {
    const std::size_t start = at_;
    const unsigned lead = byte();
    const unsigned follow = lead >> 6;
    const std::size_t length = follow == 0 ? lead : (lead & 0xF) | number(follow) << 4;
    EXPECT_LE(start + length, code_.size());
    return start + length;
  }
  std::string segment() {
    if (code_[at_] == std::byte{0x5C}) ++at_;
    at_ += 4;
    return text_at(code_, at_ - 4, 4);
  }
  std::uint64_t integer() {
    switch (const unsigned op = byte()) {
      case 0x00:
      case 0x01:
        return op;
      case 0x0A:
        return number(1);
      case 0x0B:
        return number(2);
      case 0x0C:
        return number(4);
      default:
        ADD_FAILURE() << "integer " << op;
        return 0;
    }
  }
  void term(const std::string& device) {
    switch (const unsigned op = byte()) {
      case 0x10: {
        const std::size_t end = package_end();
        EXPECT_EQ(segment(), "_SB_");
        while (at_ < end) term("");
        EXPECT_EQ(at_, end);
        return;
      }
      case 0x5B: {
        EXPECT_EQ(byte(), 0x82U);
        const std::size_t end = package_end();
        const std::string name = segment();
        EXPECT_TRUE(devices.emplace(name, Device{}).second) << name << " twice";
        while (at_ < end) term(name);
        EXPECT_EQ(at_, end);
        return;
      }
      case 0x08:
        return named(device, segment());
      default:
        ADD_FAILURE() << "opcode " << op << " at " << at_;
        at_ = code_.size();
    }
  }
  void named(const std::string& device, const std::string& name) {
    if (name == "_S5_") {
      EXPECT_EQ(byte(), 0x12U);
      const std::size_t end = package_end();
      for (unsigned left = byte(); left > 0; --left) sleep_s5 += std::to_string(integer());
      EXPECT_EQ(at_, end);
    } else if (name == "_HID") {
      EXPECT_EQ(byte(), 0x0DU);
      for (unsigned c = byte(); c != 0; c = byte()) devices[device].hardware_id += static_cast<char>(c);
    } else if (name == "_UID") {
      devices[device].unique_id = integer();
    } else if (name == "_CCA") {
      devices[device].coherent = integer() == 1;
    } else if (name == "_CRS") {
      EXPECT_EQ(byte(), 0x11U);
      const std::size_t end = package_end();
      const std::uint64_t size = integer();
      EXPECT_EQ(size, end - at_);
      devices[device].resources = resources();
      EXPECT_EQ(at_, end);
    } else {
      ADD_FAILURE() << name;
    }
  }
  std::string resources() {
    std::string text;
    const auto add = [&](const std::string& more) { text += (text.empty() ? "" : ", ") + more; };
    char line[64];
    for (;;) {
      switch (const unsigned tag = byte()) {
        case 0x47: {
          EXPECT_EQ(byte(), 1U);
          const auto lowest = number(2);
          EXPECT_EQ(number(2), lowest);
          EXPECT_EQ(byte(), 1U);
          std::snprintf(line, sizeof line, "io %llx+%u", static_cast<unsigned long long>(lowest), byte());
          add(line);
          break;
        }
        case 0x86: {
          EXPECT_EQ(number(2), 9U);
          EXPECT_EQ(byte(), 1U);
          const auto start = number(4);
          std::snprintf(line, sizeof line, "memory %llx+%llx", static_cast<unsigned long long>(start),
                        static_cast<unsigned long long>(number(4)));
          add(line);
          break;
        }
        case 0x89:
          EXPECT_EQ(number(2), 6U);
          EXPECT_EQ(byte(), 3U);
          EXPECT_EQ(byte(), 1U);
          add("edge " + std::to_string(number(4)));
          break;
        case 0x79:
          byte();
          return text;
        default:
          ADD_FAILURE() << "resource " << tag;
          return text;
      }
    }
  }

  const Span code_;
  std::size_t at_ = 0;
};

// Guest memory with nothing but the tables, found as a guest finds them.
class AcpiTest : public testing::Test {
 protected:
  void make(unsigned processors, std::span<const DeviceNode> devices) {
    tables_ = make_acpi_tables(processors, devices, boot_map::kAcpiTables);
    ASSERT_LE(tables_.size(), boot_map::kAcpiTablesBytes);
  }
  Span at(std::uint64_t address) const {
    EXPECT_TRUE(address >= boot_map::kAcpiTables.raw() && address - boot_map::kAcpiTables.raw() < tables_.size()) << address;
    return Span{tables_}.subspan(address - boot_map::kAcpiTables.raw());
  }
  // The table, whole, checked.
  Span table(std::uint64_t address, const char* signature) const {
    const auto start = at(address);
    EXPECT_EQ(text_at(start, 0, 4), signature);
    const auto whole = start.first(value_at<std::uint32_t>(start, 4));
    EXPECT_EQ(byte_sum(whole), 0U) << signature;
    return whole;
  }
  Span listed(std::size_t index, const char* signature) const {
    const auto rsdp = Span{tables_};
    const auto xsdt = table(value_at<std::uint64_t>(rsdp, 24), "XSDT");
    EXPECT_EQ(xsdt.size(), 36U + 2 * 8);
    return table(value_at<std::uint64_t>(xsdt, 36 + 8 * index), signature);
  }
  Span dsdt() const { return table(value_at<std::uint64_t>(listed(0, "FACP"), 140), "DSDT"); }

  std::vector<std::byte> tables_;
};

TEST_F(AcpiTest, TheRootPointerIsWhereGuestsLook) {
  make(1, {});
  const Span rsdp{tables_};
  EXPECT_EQ(text_at(rsdp, 0, 8), "RSD PTR ");
  EXPECT_EQ(byte_sum(rsdp.first(20)), 0U);
  EXPECT_EQ(byte_sum(rsdp.first(36)), 0U);
  EXPECT_EQ(value_at<std::uint8_t>(rsdp, 15), 2U);
  EXPECT_EQ(value_at<std::uint32_t>(rsdp, 20), 36U);
  EXPECT_EQ(boot_map::kAcpiTables.raw() % 16, 0U);
  EXPECT_GE(boot_map::kAcpiTables.raw(), 0xE'0000U);
}

TEST_F(AcpiTest, TheFixedHardwareIsTheMachines) {
  make(1, {});
  const auto fadt = listed(0, "FACP");
  EXPECT_EQ(fadt.size(), 276U);
  EXPECT_EQ(value_at<std::uint8_t>(fadt, 8), 6U);
  EXPECT_EQ(value_at<std::uint16_t>(fadt, 46), 9U) << "SCI";
  EXPECT_EQ(value_at<std::uint32_t>(fadt, 48), 0U) << "no SMI: ACPI is on";
  EXPECT_EQ(value_at<std::uint32_t>(fadt, 56), 0x600U);
  EXPECT_EQ(value_at<std::uint32_t>(fadt, 64), 0x604U);
  EXPECT_EQ(value_at<std::uint32_t>(fadt, 76), 0U) << "no timer";
  EXPECT_EQ(value_at<std::uint8_t>(fadt, 88), 4U);
  EXPECT_EQ(value_at<std::uint8_t>(fadt, 89), 2U);
  const auto flags = value_at<std::uint32_t>(fadt, 112);
  EXPECT_EQ(flags >> 4 & 1, 0U) << "the power button is fixed hardware";
  EXPECT_EQ(flags >> 5 & 1, 1U) << "the sleep button is not there";
  EXPECT_EQ(flags >> 10 & 1, 1U) << "reset register";
  EXPECT_EQ(flags >> 20 & 1, 0U) << "not hardware-reduced";
  EXPECT_EQ(value_at<std::uint8_t>(fadt, 116), 1U);
  EXPECT_EQ(value_at<std::uint64_t>(fadt, 120), 0xCF9U);
  EXPECT_EQ(value_at<std::uint8_t>(fadt, 128), 6U);
  EXPECT_EQ(value_at<std::uint64_t>(fadt, 152), 0x600U);
  EXPECT_EQ(value_at<std::uint64_t>(fadt, 176), 0x604U);
  EXPECT_EQ(value_at<std::uint32_t>(fadt, 40), value_at<std::uint64_t>(fadt, 140)) << "both places name one DSDT";
  const auto facs_at = value_at<std::uint32_t>(fadt, 36);
  EXPECT_EQ(facs_at % 64, 0U);
  EXPECT_EQ(text_at(at(facs_at), 0, 4), "FACS");
  EXPECT_EQ(value_at<std::uint32_t>(at(facs_at), 4), 64U);
}

TEST_F(AcpiTest, SaysWhetherThereIsAClock) {
  constexpr std::uint16_t kNoClock = 1 << 5;
  make(1, {});
  EXPECT_NE(value_at<std::uint16_t>(listed(0, "FACP"), 109) & kNoClock, 0);
  const DeviceNode clock{.hardware_id = "PNP0B00", .ports = PortRange{0x70, 2}, .gsi = 8};
  make(1, {&clock, 1});
  EXPECT_EQ(value_at<std::uint16_t>(listed(0, "FACP"), 109) & kNoClock, 0);
  EXPECT_EQ(AmlReader{dsdt().subspan(36)}.devices.at("D000").resources, "io 70+2, edge 8");
}

TEST_F(AcpiTest, ListsProcessorsAndInterrupts) {
  for (unsigned processors = 1; processors <= 8; ++processors) {
    SCOPED_TRACE(processors);
    make(processors, {});
    const auto madt = listed(1, "APIC");
    EXPECT_EQ(value_at<std::uint32_t>(madt, 36), 0xFEE0'0000U);
    EXPECT_EQ(value_at<std::uint32_t>(madt, 40), 1U) << "two PICs as well";
    unsigned found = 0;
    std::string others;
    std::size_t offset = 44;
    while (offset < madt.size()) {
      const auto length = value_at<std::uint8_t>(madt, offset + 1);
      ASSERT_GE(length, 2U);
      const auto entry = madt.subspan(offset, length);
      switch (value_at<std::uint8_t>(entry, 0)) {
        case 0:
          EXPECT_EQ(length, 8U);
          EXPECT_EQ(value_at<std::uint8_t>(entry, 3), found++) << "APIC id";
          EXPECT_EQ(value_at<std::uint32_t>(entry, 4), 1U) << "enabled";
          break;
        case 1:
          EXPECT_EQ(value_at<std::uint8_t>(entry, 2), processors) << "the IOAPIC's id is no processor's";
          EXPECT_EQ(value_at<std::uint32_t>(entry, 4), 0xFEC0'0000U);
          EXPECT_EQ(value_at<std::uint32_t>(entry, 8), 0U);
          others += "ioapic ";
          break;
        case 2:
          EXPECT_EQ(value_at<std::uint8_t>(entry, 3), 9U);
          EXPECT_EQ(value_at<std::uint32_t>(entry, 4), 9U);
          EXPECT_EQ(value_at<std::uint16_t>(entry, 8), 5U) << "active high, edge";
          others += "override ";
          break;
        case 4:
          EXPECT_EQ(value_at<std::uint8_t>(entry, 2), 0xFFU);
          EXPECT_EQ(value_at<std::uint8_t>(entry, 5), 1U);
          others += "nmi ";
          break;
        default:
          ADD_FAILURE() << "entry type " << value_at<std::uint8_t>(entry, 0);
      }
      offset += length;
    }
    EXPECT_EQ(offset, madt.size());
    EXPECT_EQ(found, processors);
    EXPECT_EQ(others, "ioapic override nmi ");
  }
}

TEST_F(AcpiTest, DescribesEveryDevice) {
  std::vector<DeviceNode> nodes{{.hardware_id = "PNP0501", .ports = PortRange{0x3F8, 8}, .gsi = 4},
                                {.hardware_id = "QEMU0001", .ports = PortRange{0x505, 1}}};
  for (std::uint32_t i = 0; i < 16; ++i)
    nodes.push_back(
        {.hardware_id = "LNRO0005", .memory = MemoryRange{GuestPhysicalAddress{0xD000'0000 + i * 0x1000}, 0x1000}, .gsi = 5 + i});
  make(8, nodes);
  const AmlReader code{dsdt().subspan(36)};
  EXPECT_EQ(value_at<std::uint8_t>(dsdt(), 8), 2U) << "integers of 64 bits";
  EXPECT_EQ(code.sleep_s5, "0000");
  ASSERT_EQ(code.devices.size(), nodes.size());
  EXPECT_EQ(code.devices.at("D000").hardware_id, "PNP0501");
  EXPECT_EQ(code.devices.at("D000").resources, "io 3f8+8, edge 4");
  EXPECT_EQ(code.devices.at("D001").hardware_id, "QEMU0001");
  EXPECT_EQ(code.devices.at("D001").resources, "io 505+1");
  EXPECT_EQ(code.devices.at("D002").hardware_id, "LNRO0005");
  EXPECT_EQ(code.devices.at("D002").resources, "memory d0000000+1000, edge 5");
  EXPECT_EQ(code.devices.at("D011").resources, "memory d000f000+1000, edge 20");
  EXPECT_TRUE(code.devices.at("D011").coherent);
  for (const auto& [name, device] : code.devices) EXPECT_EQ(device.unique_id, std::stoull(name.substr(1), nullptr, 16));
}

TEST_F(AcpiTest, AMachineWithoutDevicesHasWholeTables) {
  make(1, {});
  const AmlReader code{dsdt().subspan(36)};
  EXPECT_TRUE(code.devices.empty());
  EXPECT_EQ(code.sleep_s5, "0000");
}

}  // namespace
}  // namespace understudy
