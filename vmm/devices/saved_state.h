// What every device checks of a saved state before it looks inside: that it is its own, of a version it knows, and no malformed message.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <kj/exception.h>

#include "net/base/check.h"
#include "net/base/result.h"
#include "vmm/device.h"

namespace understudy {

// Calls `parse` (a Result<T>() that reads in.getState()) once id and version fit. Errors name the device. Never throws.
template <class Parse>
auto parse_saved_state(schema::DeviceState::Reader in, std::string_view id, std::uint16_t version, Parse parse) -> decltype(parse()) {
  const std::string where = "saved state of device " + std::string{id};
  try {
    const std::string saved_id = in.getId().cStr();
    if (saved_id != id) return Error{ErrorCode::kInvalid, where + ": the state is of device \"" + saved_id + "\""};
    if (in.getVersion() != version)
      return Error{ErrorCode::kUnsupportedVersion,
                   where + ": its version is " + std::to_string(in.getVersion()) + ", this build knows " + std::to_string(version)};
    if (in.getState().isNull()) return Error{ErrorCode::kCorrupt, where + ": it is empty"};
    auto result = parse();
    if (!result) return std::move(result.error()).within(where);
    return result;
  } catch (const kj::Exception& exception) {
    return Error{ErrorCode::kCorrupt, where + ": " + exception.getDescription().cStr()};
  }
}

}  // namespace understudy
