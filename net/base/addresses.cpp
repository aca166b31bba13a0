#include "net/base/addresses.h"

#include <charconv>
#include <cstdio>

#include <arpa/inet.h>

namespace understudy {

std::optional<MacAddress> MacAddress::parse(std::string_view text) {
  MacAddress mac;
  if (text.size() != mac.octets.size() * 3 - 1) return std::nullopt;
  for (std::size_t i = 0; i < mac.octets.size(); ++i) {
    const char* const at = text.data() + i * 3;
    if (i > 0 && at[-1] != ':') return std::nullopt;
    const auto [end, error] = std::from_chars(at, at + 2, mac.octets[i], 16);
    if (error != std::errc{} || end != at + 2) return std::nullopt;
  }
  return mac;
}

std::string MacAddress::text() const {
  char text[18];
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", octets[0], octets[1], octets[2], octets[3], octets[4], octets[5]);
  return text;
}

std::optional<Ipv4Address> Ipv4Address::parse(std::string_view text) {
  Ipv4Address address;
  if (::inet_pton(AF_INET, std::string{text}.c_str(), address.octets.data()) != 1) return std::nullopt;
  return address;
}

std::string Ipv4Address::text() const {
  char text[INET_ADDRSTRLEN];
  ::inet_ntop(AF_INET, octets.data(), text, sizeof text);
  return text;
}

}  // namespace understudy
