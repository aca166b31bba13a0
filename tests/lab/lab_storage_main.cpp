// `understudy-lab-storage`: a folder shown at another place, which ails as it is told; ended by a signal, it is storage that is gone.
#include <cstdio>
#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>

#include "tests/lab/ailing_folder.h"
#include "tests/lab/storage_control.h"

namespace understudy::lab {
namespace {

int run(const std::filesystem::path& folder, const std::filesystem::path& mount_point, const std::filesystem::path& control_socket) {
  const MonotonicClock clock;
  AilingStorage storage{clock};
  std::unique_ptr<StorageControl> control;
  const auto served = serve_folder(folder, mount_point, storage, [&]() -> Result<void> {
    US_ASSIGN(control, StorageControl::start(control_socket, storage));
    return {};
  });
  if (served) return 0;
  std::fprintf(stderr, "understudy-lab-storage: %s\n", served.error().text().c_str());
  return 1;
}

}  // namespace
}  // namespace understudy::lab

int main(int argc, char** argv) {
  CLI::App app{
      "Shows FOLDER at MOUNT-POINT, and fails as it is told at the socket CONTROL: healthy, eio, hang, corrupt, slow. Killed, it is gone.",
      "understudy-lab-storage"};
  std::filesystem::path folder, mount_point, control;
  app.add_option("FOLDER", folder, "what is served")->required()->check(CLI::ExistingDirectory);
  app.add_option("MOUNT-POINT", mount_point, "an empty folder")->required()->check(CLI::ExistingDirectory);
  app.add_option("CONTROL", control, "a Unix socket, made here")->required();
  CLI11_PARSE(app, argc, argv);
  return understudy::lab::run(folder, mount_point, control);
}
