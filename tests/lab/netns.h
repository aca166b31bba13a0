// Moving the calling thread into one of the lab's network namespaces.
#pragma once

#include <string>

#include "net/base/result.h"

namespace understudy::lab {

// Sockets that the calling thread opens from now on belong to /run/netns/<name>. Only that thread is moved: setns(2).
Result<void> enter_namespace(const std::string& name);

}  // namespace understudy::lab
