#include "failover/daemon/tcp_address.h"

namespace understudy {

std::optional<TcpAddress> tcp_address(std::string_view endpoint) {
  constexpr std::string_view kTcp = "tcp://";
  if (!endpoint.starts_with(kTcp)) return std::nullopt;
  endpoint.remove_prefix(kTcp.size());
  const auto colon = endpoint.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = endpoint.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return TcpAddress{std::string{host}, std::string{endpoint.substr(colon + 1)}};
}

}  // namespace understudy
