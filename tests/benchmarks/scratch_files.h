// Files without a name: nothing of them is left, however this process ends. A child reads them as /proc/self/fd/N.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "net/base/result.h"
#include "net/base/unique_fd.h"

namespace understudy::bench {

struct ScratchFile {
  UniqueFd fd;  // inherited by children
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd.get()); }
};

// In memory.
Result<ScratchFile> make_memory_file(const char* name, std::span<const std::byte> content);

struct ScratchDisk {
  ScratchFile file;
  bool direct = false;  // its file system takes O_DIRECT
};
// In this folder, every block written, and on the disk.
Result<ScratchDisk> make_scratch_disk(const std::filesystem::path& folder, std::uint64_t size_mib);

Result<std::vector<std::byte>> read_whole_file(const std::filesystem::path& path);

}  // namespace understudy::bench
