// How a process that serves ailing storage is told what ails it: the states' names over a socket of its own, each answered when it is in
// force.
#pragma once

#include <filesystem>
#include <memory>
#include <thread>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"
#include "tests/lab/storage_state.h"

namespace understudy::lab {

class StorageControl {
 public:
  // Listens at `socket`, in a thread of its own, until it is destroyed. `storage` outlives it.
  static Result<std::unique_ptr<StorageControl>> start(const std::filesystem::path& socket, AilingStorage& storage);
  ~StorageControl();
  StorageControl(const StorageControl&) = delete;
  StorageControl& operator=(const StorageControl&) = delete;

 private:
  StorageControl(UniqueFd listener, AilingStorage& storage);
  void run();

  const UniqueFd listener_;
  AilingStorage& storage_;
  std::thread thread_;
};

// Tells whoever listens at `socket`; returns when the state is in force. kUnavailable: nobody listens. kTimeout: no answer.
Result<void> order_storage(const std::filesystem::path& socket, StorageState state, Duration deadline);

}  // namespace understudy::lab
