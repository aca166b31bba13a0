// RocksDB's files on a disk that fails, and that loses power: what was not synced may be gone, whole or in part.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

namespace understudy::fake {

// Any thread, as RocksDB's background work. Deletions and renames count as durable at once.
class FaultyFiles final : public rocksdb::FileSystemWrapper {
 public:
  FaultyFiles() : FileSystemWrapper{rocksdb::FileSystem::Default()} {}
  const char* Name() const override { return "FaultyFiles"; }

  // From now on every `one_in`th change fails, by chance; 0: none.
  void fail_one_in(unsigned one_in, unsigned seed) {
    const std::lock_guard lock{mutex_};
    one_in_ = one_in;
    random_.seed(seed);
  }
  // The power fails: no change reaches the disk any more. Then close the database, and restore_power().
  void lose_power() {
    const std::lock_guard lock{mutex_};
    dead_ = true;
  }
  // The disk as it was left: of what each file had beyond its last sync, any part is there. A file whose directory was not synced since it
  // was made may be missing.
  void restore_power(unsigned seed) {
    const std::lock_guard lock{mutex_};
    std::mt19937_64 random{seed};
    for (const auto& [path, file] : files_) {
      if (!std::filesystem::exists(path)) continue;
      if (made_.contains(path) && random() % 2 == 0) {
        std::filesystem::remove(path);
        continue;
      }
      const std::uint64_t there = std::filesystem::file_size(path);
      const std::uint64_t unsynced = file.written > file.synced ? file.written - file.synced : 0;
      const std::uint64_t kept = file.synced + (unsynced == 0 ? 0 : random() % (unsynced + 1));
      if (kept < there) std::filesystem::resize_file(path, kept);
    }
    files_.clear();
    made_.clear();
    dead_ = false;
    one_in_ = 0;
  }

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result, rocksdb::IODebugContext* context) override {
    if (auto failed = change(); !failed.ok()) return failed;
    std::unique_ptr<rocksdb::FSWritableFile> file;
    if (auto status = target()->NewWritableFile(path, options, &file, context); !status.ok()) return status;
    {
      const std::lock_guard lock{mutex_};
      files_[path] = {};
      made_.insert(path);
    }
    *result = std::make_unique<File>(*this, path, std::move(file));
    return rocksdb::IOStatus::OK();
  }
  rocksdb::IOStatus ReuseWritableFile(const std::string& path, const std::string& old, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* result, rocksdb::IODebugContext* context) override {
    if (auto status = RenameFile(old, path, {}, context); !status.ok()) return status;
    return NewWritableFile(path, options, result, context);
  }
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options, rocksdb::IODebugContext* context) override {
    if (auto failed = change(); !failed.ok()) return failed;
    {
      const std::lock_guard lock{mutex_};
      files_.erase(path);
      made_.erase(path);
    }
    return target()->DeleteFile(path, options, context);
  }
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* context) override {
    if (auto failed = change(); !failed.ok()) return failed;
    const std::lock_guard lock{mutex_};
    if (const auto file = files_.extract(from)) files_[to] = file.mapped();
    made_.erase(from);
    made_.erase(to);
    return target()->RenameFile(from, to, options, context);
  }
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options, std::unique_ptr<rocksdb::FSDirectory>* result,
                                 rocksdb::IODebugContext* context) override {
    std::unique_ptr<rocksdb::FSDirectory> directory;
    if (auto status = target()->NewDirectory(path, options, &directory, context); !status.ok()) return status;
    *result = std::make_unique<Directory>(*this, std::move(directory));
    return rocksdb::IOStatus::OK();
  }

 private:
  struct Sizes {
    std::uint64_t written = 0, synced = 0;
  };

  class File final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(FaultyFiles& files, std::string path, std::unique_ptr<rocksdb::FSWritableFile> file)
        : FSWritableFileOwnerWrapper{std::move(file)}, files_{files}, path_{std::move(path)} {}
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options, rocksdb::IODebugContext* context) override {
      if (auto failed = files_.change(); !failed.ok()) return failed;
      files_.wrote(path_, data.size());
      return target()->Append(data, options, context);
    }
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options, const rocksdb::DataVerificationInfo&,
                             rocksdb::IODebugContext* context) override {
      return Append(data, options, context);
    }
    // A power loss is no harder on a disk that was spared the sync: what counts as synced is kept in files_.
    rocksdb::IOStatus Sync(const rocksdb::IOOptions&, rocksdb::IODebugContext*) override { return synced(); }
    rocksdb::IOStatus Fsync(const rocksdb::IOOptions&, rocksdb::IODebugContext*) override { return synced(); }
    rocksdb::IOStatus RangeSync(std::uint64_t, std::uint64_t, const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
      return rocksdb::IOStatus::OK();
    }

   private:
    rocksdb::IOStatus synced() {
      if (auto failed = files_.change(); !failed.ok()) return failed;
      files_.sync(path_);
      return rocksdb::IOStatus::OK();
    }
    FaultyFiles& files_;
    const std::string path_;
  };

  class Directory final : public rocksdb::FSDirectory {
   public:
    Directory(FaultyFiles& files, std::unique_ptr<rocksdb::FSDirectory> directory) : files_{files}, directory_{std::move(directory)} {}
    rocksdb::IOStatus Fsync(const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
      if (auto failed = files_.change(); !failed.ok()) return failed;
      files_.synced_directory();
      return rocksdb::IOStatus::OK();
    }
    rocksdb::IOStatus FsyncWithDirOptions(const rocksdb::IOOptions& options, rocksdb::IODebugContext* context,
                                          const rocksdb::DirFsyncOptions&) override {
      return Fsync(options, context);
    }

   private:
    FaultyFiles& files_;
    const std::unique_ptr<rocksdb::FSDirectory> directory_;
  };

  rocksdb::IOStatus change() {
    const std::lock_guard lock{mutex_};
    if (dead_) return rocksdb::IOStatus::IOError("simulated: the power is off");
    if (one_in_ != 0 && random_() % one_in_ == 0) {
      return random_() % 2 == 0 ? rocksdb::IOStatus::NoSpace("simulated: no space left on device")
                                : rocksdb::IOStatus::IOError("simulated: input/output error");
    }
    return rocksdb::IOStatus::OK();
  }
  void wrote(const std::string& path, std::size_t bytes) {
    const std::lock_guard lock{mutex_};
    if (const auto file = files_.find(path); file != files_.end()) file->second.written += bytes;
  }
  void sync(const std::string& path) {
    const std::lock_guard lock{mutex_};
    if (const auto file = files_.find(path); file != files_.end()) file->second.synced = file->second.written;
  }
  void synced_directory() {
    const std::lock_guard lock{mutex_};
    made_.clear();
  }

  std::mutex mutex_;
  // Guarded by mutex_:
  std::map<std::string, Sizes> files_;
  std::set<std::string> made_;  // since the directory was synced
  bool dead_ = false;
  unsigned one_in_ = 0;
  std::mt19937 random_;
};

}  // namespace understudy::fake
