#include "tests/lab/disk_files.h"

#include <fstream>
#include <iterator>

#include <fmt/format.h>

#include "tests/lab/child.h"

namespace understudy::lab {

namespace {

constexpr Duration kToolDeadline = std::chrono::seconds{120};
constexpr std::uintmax_t kMaxFileBytes = std::uintmax_t{64} << 20;

}  // namespace

Result<std::string> check_file_system(const Clock& clock, const std::filesystem::path& image) {
  // -n answers every question with no; a journal that would have to be replayed first is itself such a question.
  auto checked = run_command(clock, {"e2fsck", "-f", "-n", image.string()}, kToolDeadline);
  if (checked) {
    const bool skipped = checked->find("skipping journal recovery") != std::string::npos;
    return skipped ? *checked : std::string{};
  }
  if (checked.error().code() == ErrorCode::kFailed) return checked.error().text();
  return std::move(checked.error()).within("check " + image.string());
}

Result<std::string> read_disk_file(const Clock& clock, const std::filesystem::path& image, const std::string& path) {
  const auto copy = image.parent_path() / "copy-of-a-disk-file";
  std::error_code ignored;
  std::filesystem::remove(copy, ignored);
  // debugfs ends with status 0 even where it finds no such file.
  if (auto dumped = run_command(clock, {"debugfs", "-R", fmt::format("dump {} {}", path, copy.string()), image.string()}, kToolDeadline);
      !dumped)
    return std::move(dumped.error()).within("read " + path + " in " + image.string());
  const auto size = std::filesystem::file_size(copy, ignored);
  if (ignored) return Error{ErrorCode::kNotFound, fmt::format("read {} in {}: it is not there", path, image.string())};
  if (size > kMaxFileBytes) return Error{ErrorCode::kCorrupt, fmt::format("read {} in {}: it has {} bytes", path, image.string(), size)};
  std::ifstream file{copy, std::ios::binary};
  std::string text{std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
  if (!file) return Error::from_errno("read " + copy.string());
  return text;
}

}  // namespace understudy::lab
