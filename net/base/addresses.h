// Ethernet and IPv4 addresses as values, with their text forms.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace understudy {

struct MacAddress {
  std::array<std::uint8_t, 6> octets{};
  // "52:54:00:12:34:56"; nullopt for anything else.
  static std::optional<MacAddress> parse(std::string_view text);
  std::string text() const;
  friend auto operator<=>(const MacAddress&, const MacAddress&) = default;
};

struct Ipv4Address {
  std::array<std::uint8_t, 4> octets{};  // network order
  // "10.0.0.10"; nullopt for anything else.
  static std::optional<Ipv4Address> parse(std::string_view text);
  std::string text() const;
  friend auto operator<=>(const Ipv4Address&, const Ipv4Address&) = default;
};

}  // namespace understudy
