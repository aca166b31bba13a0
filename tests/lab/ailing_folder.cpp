#define FUSE_USE_VERSION 312
#include "tests/lab/ailing_folder.h"

#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <memory>
#include <string>
#include <unistd.h>

#include <sys/stat.h>
#include <sys/statvfs.h>

#include "net/base/unique_fd.h"

namespace understudy::lab {

namespace {

// What each operation finds in its context.
struct Served {
  UniqueFd folder;
  AilingStorage& storage;
};

Served& served() { return *static_cast<Served*>(::fuse_get_context()->private_data); }
int folder() { return served().folder.get(); }
const char* within(const char* path) { return path[1] == '\0' ? "." : path + 1; }
int file_of(const fuse_file_info* info) { return static_cast<int>(info->fh); }

// An operation: what `act` returns, with -1 for the errno, unless the storage fails it first.
template <class Act>
auto carry_out(std::size_t bytes, Act act) -> decltype(act()) {
  if (const int error = served().storage.admit(bytes); error != 0) return -error;
  const auto result = act();
  return result < 0 ? -errno : result;
}
template <class Act>
int carry_out(Act act) {
  return carry_out(0, act);
}

int get_attributes(const char* path, struct stat* out, fuse_file_info* info) {
  return carry_out(
      [&] { return info != nullptr ? ::fstat(file_of(info), out) : ::fstatat(folder(), within(path), out, AT_SYMLINK_NOFOLLOW); });
}

int read_link(const char* path, char* out, std::size_t size) {
  return carry_out([&] {
    const ssize_t length = ::readlinkat(folder(), within(path), out, size - 1);
    if (length >= 0) out[length] = '\0';
    return length < 0 ? -1 : 0;
  });
}

int make_folder(const char* path, mode_t mode) {
  return carry_out([&] { return ::mkdirat(folder(), within(path), mode); });
}
int remove_file(const char* path) {
  return carry_out([&] { return ::unlinkat(folder(), within(path), 0); });
}
int remove_folder(const char* path) {
  return carry_out([&] { return ::unlinkat(folder(), within(path), AT_REMOVEDIR); });
}
int make_symlink(const char* target, const char* path) {
  return carry_out([&] { return ::symlinkat(target, folder(), within(path)); });
}
int rename_file(const char* from, const char* to, unsigned flags) {
  return carry_out([&] { return ::renameat2(folder(), within(from), folder(), within(to), flags); });
}
int link_file(const char* from, const char* to) {
  return carry_out([&] { return ::linkat(folder(), within(from), folder(), within(to), 0); });
}
// An open file may have no path any more, so those that have `info` are used by their descriptor.
int change_mode(const char* path, mode_t mode, fuse_file_info* info) {
  return carry_out([&] { return info != nullptr ? ::fchmod(file_of(info), mode) : ::fchmodat(folder(), within(path), mode, 0); });
}
int change_owner(const char* path, uid_t user, gid_t group, fuse_file_info* info) {
  return carry_out([&] {
    return info != nullptr ? ::fchown(file_of(info), user, group) : ::fchownat(folder(), within(path), user, group, AT_SYMLINK_NOFOLLOW);
  });
}
int set_times(const char* path, const timespec times[2], fuse_file_info* info) {
  return carry_out(
      [&] { return info != nullptr ? ::futimens(file_of(info), times) : ::utimensat(folder(), within(path), times, AT_SYMLINK_NOFOLLOW); });
}
int file_system_numbers(const char*, struct statvfs* out) {
  return carry_out([&] { return ::fstatvfs(folder(), out); });
}

int truncate_file(const char* path, off_t size, fuse_file_info* info) {
  return carry_out([&] {
    if (info != nullptr) return ::ftruncate(file_of(info), size);
    const UniqueFd file{::openat(folder(), within(path), O_WRONLY | O_CLOEXEC)};
    return file ? ::ftruncate(file.get(), size) : -1;
  });
}

// The kernel's buffers are not aligned as direct I/O wants them, and append is already an offset: both are the caller's side alone.
int open_with(const char* path, int flags, mode_t mode, fuse_file_info* info) {
  return carry_out([&] {
    const int file = ::openat(folder(), within(path), (flags & ~(O_DIRECT | O_APPEND)) | O_CLOEXEC, mode);
    if (file < 0) return -1;
    info->fh = static_cast<std::uint64_t>(file);
    return 0;
  });
}
int open_file(const char* path, fuse_file_info* info) { return open_with(path, info->flags, 0, info); }
int create_file(const char* path, mode_t mode, fuse_file_info* info) { return open_with(path, info->flags | O_CREAT, mode, info); }

int read_file(const char*, char* out, std::size_t size, off_t offset, fuse_file_info* info) {
  return carry_out(size, [&] {
    const auto count = static_cast<int>(::pread(file_of(info), out, size, offset));
    if (count > 0 && served().storage.state() == StorageState::kCorrupt)
      flip_bits(std::as_writable_bytes(std::span{out, static_cast<std::size_t>(count)}), static_cast<std::size_t>(offset));
    return count;
  });
}
int write_file(const char*, const char* bytes, std::size_t size, off_t offset, fuse_file_info* info) {
  return carry_out(size, [&] { return static_cast<int>(::pwrite(file_of(info), bytes, size, offset)); });
}
int sync_file(const char*, int data_only, fuse_file_info* info) {
  return carry_out([&] { return data_only != 0 ? ::fdatasync(file_of(info)) : ::fsync(file_of(info)); });
}
int allocate(const char*, int mode, off_t offset, off_t length, fuse_file_info* info) {
  return carry_out([&] { return ::fallocate(file_of(info), mode, offset, length); });
}
off_t seek(const char*, off_t offset, int whence, fuse_file_info* info) {
  return carry_out(0, [&] { return ::lseek(file_of(info), offset, whence); });
}
int close_file(const char*, fuse_file_info* info) { return ::close(file_of(info)); }

int open_folder(const char* path, fuse_file_info* info) { return open_with(path, O_RDONLY | O_DIRECTORY, 0, info); }
int read_folder(const char*, void* out, fuse_fill_dir_t fill, off_t, fuse_file_info* info, fuse_readdir_flags) {
  return carry_out([&] {
    // A descriptor of its own, since that of the open folder stays for the next reading.
    const int opened = ::openat(file_of(info), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const std::unique_ptr<DIR, int (*)(DIR*)> entries{opened < 0 ? nullptr : ::fdopendir(opened), &::closedir};
    if (!entries) return -1;
    while (const dirent* const entry = ::readdir(entries.get())) fill(out, entry->d_name, nullptr, 0, static_cast<fuse_fill_dir_flags>(0));
    return 0;
  });
}

void* begin(fuse_conn_info* connection, fuse_config* config) {
  // Every look reaches the storage; a file that was removed while open stays readable by its descriptor alone.
  config->entry_timeout = config->attr_timeout = config->negative_timeout = 0;
  config->hard_remove = 1;
  config->nullpath_ok = 1;
  // Operations that hang must not keep others from being heard, or a change of state could not be told from one more hang.
  constexpr unsigned kMostAtOnce = 512;
  connection->max_background = kMostAtOnce;
  return ::fuse_get_context()->private_data;
}

fuse_operations operations() {
  fuse_operations all{};
  all.init = begin;
  all.getattr = get_attributes;
  all.readlink = read_link;
  all.mkdir = make_folder;
  all.unlink = remove_file;
  all.rmdir = remove_folder;
  all.symlink = make_symlink;
  all.rename = rename_file;
  all.link = link_file;
  all.chmod = change_mode;
  all.chown = change_owner;
  all.utimens = set_times;
  all.statfs = file_system_numbers;
  all.truncate = truncate_file;
  all.open = open_file;
  all.create = create_file;
  all.read = read_file;
  all.write = write_file;
  all.fsync = sync_file;
  all.fallocate = allocate;
  all.lseek = seek;
  all.release = close_file;
  all.opendir = open_folder;
  all.readdir = read_folder;
  all.fsyncdir = sync_file;
  all.releasedir = close_file;
  return all;
}

}  // namespace

Result<void> serve_folder(const std::filesystem::path& folder_path, const std::filesystem::path& mount_point, AilingStorage& storage,
                          const std::function<Result<void>()>& mounted) {
  Served what{.folder = UniqueFd{::open(folder_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)}, .storage = storage};
  if (!what.folder) return Error::from_errno("open " + folder_path.string());
  const std::string failed = "serve " + folder_path.string() + " at " + mount_point.string();

  const fuse_operations all = operations();
  char program[] = "understudy-lab-storage";
  char* words[] = {program, nullptr};
  fuse_args arguments{.argc = 1, .argv = words, .allocated = 0};
  const std::unique_ptr<fuse, void (*)(fuse*)> session{::fuse_new(&arguments, &all, sizeof all, &what), &::fuse_destroy};
  if (!session) return Error{ErrorCode::kFailed, failed + ": libfuse refuses"};
  if (::fuse_mount(session.get(), mount_point.c_str()) != 0) return Error::from_errno(failed + ": mount");
  const std::unique_ptr<fuse, void (*)(fuse*)> mount{session.get(), &::fuse_unmount};
  US_TRY(mounted());
  constexpr unsigned kMostThreads = 600;  // one for each operation that hangs
  const std::unique_ptr<fuse_loop_config, void (*)(fuse_loop_config*)> loop{::fuse_loop_cfg_create(), &::fuse_loop_cfg_destroy};
  ::fuse_loop_cfg_set_max_threads(loop.get(), kMostThreads);
  const int ended = ::fuse_loop_mt(session.get(), loop.get());
  if (ended != 0) return Error{ErrorCode::kFailed, failed + ": the loop ended with " + std::to_string(ended)};
  return {};
}

}  // namespace understudy::lab
