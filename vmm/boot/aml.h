// Writes ACPI Machine Language (ACPI 6.4, chapter 20), as far as the machine's description needs it: each function gives the bytes of one
// term. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace understudy::aml {

using Bytes = std::vector<std::byte>;

Bytes join(std::initializer_list<Bytes> terms);

// Data (20.2.3).
Bytes integer(std::uint64_t value);
Bytes string(std::string_view ascii);
Bytes package(std::initializer_list<Bytes> elements);  // up to 255

// Named objects (20.2.5). A name has one to four characters of A-Z, 0-9 and '_', not a digit first; `root` puts a backslash before it.
Bytes name(std::string_view name, const Bytes& value, bool root = false);
Bytes device(std::string_view name, const Bytes& terms);
Bytes root_scope(std::string_view name, const Bytes& terms);

// Resource descriptors (6.4), for a template, which becomes a buffer.
Bytes io_ports(std::uint16_t start, std::uint8_t count);
Bytes memory32_fixed(std::uint32_t start, std::uint32_t bytes);  // read and write
Bytes edge_interrupt(std::uint32_t gsi);                         // active high, exclusive, for the device itself
Bytes resource_template(const Bytes& descriptors);

}  // namespace understudy::aml
