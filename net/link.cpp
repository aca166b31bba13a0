#include "net/link.h"

#include <algorithm>

namespace understudy {

Frame Frame::copy_of(std::span<const std::byte> bytes) {
  const auto owner = std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end());
  return Frame{*owner, owner};
}

}  // namespace understudy
