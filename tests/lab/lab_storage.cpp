#include "tests/lab/lab_storage.h"

#include <thread>

#include "tests/lab/storage_control.h"

namespace understudy::lab {

namespace {

constexpr Duration kMountDeadline = std::chrono::seconds{10};
constexpr Duration kOrderDeadline = std::chrono::seconds{5};

std::filesystem::path beside(const std::filesystem::path& folder, const char* suffix) {
  auto path = folder;
  path += suffix;
  return path;
}

std::filesystem::path control_of(const std::filesystem::path& folder) { return beside(folder, ".control"); }

}  // namespace

std::filesystem::path LabStorage::beneath(const std::filesystem::path& folder) { return beside(folder, ".beneath"); }

Result<std::unique_ptr<LabStorage>> LabStorage::start(const Clock& clock, const std::filesystem::path& programs,
                                                      std::filesystem::path folder) {
  const auto program = programs / "understudy-lab-storage";
  if (!std::filesystem::exists(program))
    return Error{ErrorCode::kNotFound, program.string() + " is missing: install libfuse3-dev (deploy/setup --tests) and build again"};
  for (const auto& made : {folder, beneath(folder)}) {
    std::error_code failed;
    std::filesystem::create_directory(made, failed);
    if (failed) return Error{ErrorCode::kFailed, "make folder " + made.string() + ": " + failed.message()};
  }
  std::unique_ptr<LabStorage> storage{new LabStorage{std::move(folder)}};
  const auto& at = storage->folder_;
  US_ASSIGN(storage->process_, Child::start({.name = "the storage at " + at.string(),
                                             .network_namespace = "",
                                             .command = {program.string(), beneath(at).string(), at.string(), control_of(at).string()},
                                             .log = beside(at, ".log")}));
  const Instant give_up_at = clock.now() + kMountDeadline;
  while (true) {
    auto answered = order_storage(control_of(at), StorageState::kHealthy, kOrderDeadline);
    if (answered) return storage;
    if (storage->process_->ending() || clock.now() >= give_up_at)
      return std::move(answered.error()).within("start " + storage->process_->name() + " (" + storage->process_->last_log_lines(5) + ")");
    std::this_thread::sleep_for(std::chrono::milliseconds{5});
  }
}

Result<void> LabStorage::order(StorageState state) { return order_storage(control_of(folder_), state, kOrderDeadline); }

}  // namespace understudy::lab
