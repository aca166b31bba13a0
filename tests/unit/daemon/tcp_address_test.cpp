// Endpoints as hosts and ports.
#include "failover/daemon/tcp_address.h"

#include <gtest/gtest.h>

namespace understudy {
namespace {

TEST(TcpAddress, IsWhatTheResolverTakes) {
  struct Case {
    const char* endpoint;
    const char* host;  // nullptr: none of the network
    const char* port = "";
  };
  for (const auto& [endpoint, host, port] : {Case{"tcp://10.0.0.1:7001", "10.0.0.1", "7001"}, Case{"tcp://host-a:7001", "host-a", "7001"},
                                             Case{"tcp://[fe80::2]:7001", "fe80::2", "7001"}, Case{"tcp://10.0.0.1", nullptr},
                                             Case{"ipc:///run/x:1", nullptr}, Case{"", nullptr}}) {
    const auto address = tcp_address(endpoint);
    ASSERT_EQ(address.has_value(), host != nullptr) << endpoint;
    if (!address) continue;
    EXPECT_EQ(address->host, host) << endpoint;
    EXPECT_EQ(address->port, port) << endpoint;
  }
}

}  // namespace
}  // namespace understudy
