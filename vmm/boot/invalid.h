// What the boot file parsers say of a file that is not what they read.
#pragma once

#include <string>
#include <utility>

#include "net/base/result.h"

namespace understudy {

// kInvalid; the text goes on after the file's name: "is truncated: ...".
inline Error invalid(std::string text) { return Error{ErrorCode::kInvalid, std::move(text)}; }

}  // namespace understudy
