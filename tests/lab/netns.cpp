#include "tests/lab/netns.h"

#include <fcntl.h>
#include <sched.h>

#include "net/base/unique_fd.h"

namespace understudy::lab {

Result<void> enter_namespace(const std::string& name) {
  const std::string path = "/run/netns/" + name;
  const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd) return Error::from_errno("open " + path + ", which exists only inside tests/lab/lab");
  if (::setns(fd.get(), CLONE_NEWNET) < 0) return Error::from_errno("enter network namespace " + name);
  return {};
}

}  // namespace understudy::lab
