// A host's storage that ails on command: a process that shows a folder through FUSE (`understudy-lab-storage`), and its remote control.
#pragma once

#include <csignal>
#include <filesystem>
#include <memory>
#include <string>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "tests/lab/child.h"
#include "tests/lab/storage_state.h"

namespace understudy::lab {

class LabStorage {
 public:
  // Makes `folder` and, beside it, a folder with what it serves; returns when it is mounted: processes started from now on see it.
  // `programs` holds understudy-lab-storage.
  static Result<std::unique_ptr<LabStorage>> start(const Clock& clock, const std::filesystem::path& programs, std::filesystem::path folder);

  // Whoever uses it may hang from then on, this process as well.
  Result<void> order(StorageState state);
  // The process is gone: what used it gets errors, and nothing brings it back.
  void kill() { process_->signal(SIGKILL); }
  // The same files, whatever ails the storage.
  static std::filesystem::path beneath(const std::filesystem::path& folder);

 private:
  explicit LabStorage(std::filesystem::path folder) : folder_{std::move(folder)} {}

  const std::filesystem::path folder_;
  std::unique_ptr<Child> process_;
};

}  // namespace understudy::lab
