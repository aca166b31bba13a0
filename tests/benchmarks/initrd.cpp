#include "tests/benchmarks/initrd.h"

#include <string>
#include <string_view>

#include <fmt/format.h>
#include <sys/stat.h>

namespace understudy::bench {

namespace {

constexpr std::size_t kPadding = 4;
constexpr unsigned kConsoleMajor = 5;  // Documentation/admin-guide/devices.txt
constexpr unsigned kConsoleMinor = 1;

struct Entry {
  std::string_view name;
  unsigned mode = 0;
  std::span<const std::byte> content{};
  unsigned device_major = 0;
  unsigned device_minor = 0;
};

class Archive {
 public:
  void add(const Entry& entry) {
    const bool last = entry.mode == 0;
    const std::string header =
        fmt::format("070701{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}", last ? 0 : ++inode_, entry.mode,
                    0, 0, 1, 0, entry.content.size(), 0, 0, entry.device_major, entry.device_minor, entry.name.size() + 1, 0);
    append(std::as_bytes(std::span{header}));
    append(std::as_bytes(std::span{entry.name}));
    bytes_.push_back(std::byte{0});
    pad();
    append(entry.content);
    pad();
  }
  std::vector<std::byte> take() && { return std::move(bytes_); }

 private:
  void append(std::span<const std::byte> more) { bytes_.insert(bytes_.end(), more.begin(), more.end()); }
  void pad() { bytes_.resize((bytes_.size() + kPadding - 1) / kPadding * kPadding); }

  std::vector<std::byte> bytes_;
  unsigned inode_ = 0;
};

}  // namespace

std::vector<std::byte> make_initrd(std::span<const std::byte> init) {
  Archive archive;
  archive.add({.name = "dev", .mode = S_IFDIR | 0755});
  archive.add({.name = "dev/console", .mode = S_IFCHR | 0600, .device_major = kConsoleMajor, .device_minor = kConsoleMinor});
  archive.add({.name = "init", .mode = S_IFREG | 0755, .content = init});
  archive.add({.name = "TRAILER!!!"});
  return std::move(archive).take();
}

}  // namespace understudy::bench
