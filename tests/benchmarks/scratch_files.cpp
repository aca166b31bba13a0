#include "tests/benchmarks/scratch_files.h"

#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <unistd.h>

#include <sys/mman.h>

namespace understudy::bench {

namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
constexpr std::size_t kAlignment = 4096;

struct FreeBlock {
  void operator()(void* memory) const { std::free(memory); }
};

Result<void> write_all(const UniqueFd& fd, std::span<const std::byte> bytes, const std::string& what) {
  while (!bytes.empty()) {
    const auto written = ::write(fd.get(), bytes.data(), bytes.size());
    if (written < 0) return Error::from_errno(what);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

// A read, since some file systems refuse only that.
bool takes_direct(const ScratchFile& file) {
  const UniqueFd fd{::open(file.path().c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT)};
  const std::unique_ptr<void, FreeBlock> block{std::aligned_alloc(kAlignment, kAlignment)};
  return fd && block && ::pread(fd.get(), block.get(), kAlignment, 0) == static_cast<ssize_t>(kAlignment);
}

}  // namespace

Result<ScratchFile> make_memory_file(const char* name, std::span<const std::byte> content) {
  ScratchFile file{UniqueFd{::memfd_create(name, 0)}};
  if (!file.fd) return Error::from_errno("memfd_create");
  US_TRY(write_all(file.fd, content, std::string{"write "} + name));
  return file;
}

Result<ScratchDisk> make_scratch_disk(const std::filesystem::path& folder, std::uint64_t size_mib) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  std::string name = (folder / "scratch-disk.XXXXXX").string();
  ScratchDisk disk{.file = ScratchFile{UniqueFd{::mkstemp(name.data())}}};
  if (!disk.file.fd) return Error::from_errno("make a scratch disk in " + folder.string());
  if (::unlink(name.c_str()) < 0) return Error::from_errno("unlink " + name);
  const std::vector<std::byte> block(kPieceBytes, std::byte{0xA5});
  for (std::uint64_t i = 0; i < size_mib; ++i) US_TRY(write_all(disk.file.fd, block, "write the scratch disk in " + folder.string()));
  if (::fsync(disk.file.fd.get()) < 0) return Error::from_errno("sync the scratch disk");
  disk.direct = takes_direct(disk.file);
  return disk;
}

Result<std::vector<std::byte>> read_whole_file(const std::filesystem::path& path) {
  const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd) return Error::from_errno("open " + path.string());
  std::vector<std::byte> content;
  while (true) {
    const std::size_t before = content.size();
    content.resize(before + kPieceBytes);
    const auto got = ::read(fd.get(), content.data() + before, kPieceBytes);
    if (got < 0) return Error::from_errno("read " + path.string());
    content.resize(before + static_cast<std::size_t>(got));
    if (got == 0) return content;
  }
}

}  // namespace understudy::bench
