// The names of the lab's machines, which are also those of their network namespaces.
#pragma once

#include <array>
#include <string>

namespace understudy::lab {

inline const std::array<std::string, 2> kHosts{"host-a", "host-b"};  // by NodeId
inline constexpr const char* kClientMachine = "client";

}  // namespace understudy::lab
