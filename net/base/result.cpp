#include "net/base/result.h"

#include <cstring>

namespace understudy {

Error Error::from_errno(std::string_view operation, int error_number) {
  std::string text{operation};
  text += ": ";
  text += ::strerrordesc_np(error_number) != nullptr ? ::strerrordesc_np(error_number) : "unknown error";
  text += " (";
  text += ::strerrorname_np(error_number) != nullptr ? ::strerrorname_np(error_number) : std::to_string(error_number);
  text += ")";
  ErrorCode code = ErrorCode::kFailed;
  if (error_number == ENOENT || error_number == ENODEV || error_number == ENXIO) code = ErrorCode::kUnavailable;
  if (error_number == EAGAIN || error_number == ENOBUFS) code = ErrorCode::kBusy;
  return Error{code, std::move(text)};
}

}  // namespace understudy
