// Files in which the kernel tells of itself: /proc and /sys.
#pragma once

#include <filesystem>
#include <string>

namespace understudy {

// All of it; empty when it can't be read: what it tells of may have ended meanwhile. Any thread.
std::string read_proc_file(const std::filesystem::path& path);

}  // namespace understudy
