#include "failover/proc_file.h"

#include <fstream>
#include <iterator>

namespace understudy {

std::string read_proc_file(const std::filesystem::path& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
}

}  // namespace understudy
