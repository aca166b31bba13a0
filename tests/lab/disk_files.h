// A look at an ext4 image from outside, by e2fsprogs: nothing is mounted, and the image is not written to. Blocks on the tools.
#pragma once

#include <filesystem>
#include <string>

#include "net/base/clock.h"
#include "net/base/result.h"

namespace understudy::lab {

// What `e2fsck -fn` complains about; empty: the file system is clean, journal included.
Result<std::string> check_file_system(const Clock& clock, const std::filesystem::path& image);

// The content of the file `path` within the image. kNotFound: there is none; up to 64 MiB.
Result<std::string> read_disk_file(const Clock& clock, const std::filesystem::path& image, const std::string& path);

}  // namespace understudy::lab
