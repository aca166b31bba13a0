// Where an endpoint is on the network.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace understudy {

struct TcpAddress {
  std::string host;  // as getaddrinfo(3) takes it: without the brackets of an IPv6 address
  std::string port;
};

// Of "tcp://10.0.0.1:7001" and "tcp://[fe80::2]:7001"; nullopt for another transport, which is not of the network.
std::optional<TcpAddress> tcp_address(std::string_view endpoint);

}  // namespace understudy
