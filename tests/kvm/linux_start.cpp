#include "tests/kvm/linux_start.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include <fmt/format.h>
#include <xxhash.h>

namespace understudy::test {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kHoleBytes = 4096;
const fs::path kLinuxFiles{UNDERSTUDY_LINUX_FILES};

std::vector<std::byte> read_file(const fs::path& path) {
  std::ifstream file{path, std::ios::binary};
  if (!file)
    throw std::runtime_error{fmt::format("{} can't be read: run tests/guest/linux/build --into {}", path.string(), kLinuxFiles.string())};
  std::vector<std::byte> bytes(fs::file_size(path));
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file) throw std::runtime_error{path.string() + " ends early"};
  return bytes;
}

void write_file(const fs::path& path, std::span<const std::byte> bytes) {
  std::ofstream file{path, std::ios::binary};
  for (std::size_t at = 0; at < bytes.size(); at += kHoleBytes) {
    const auto piece = bytes.subspan(at, std::min(kHoleBytes, bytes.size() - at));
    if (std::ranges::all_of(piece, [](std::byte byte) { return byte == std::byte{0}; })) continue;
    file.seekp(static_cast<std::streamoff>(at));
    file.write(reinterpret_cast<const char*>(piece.data()), static_cast<std::streamsize>(piece.size()));
  }
  file.close();
  if (!file) throw std::runtime_error{path.string() + " can't be written"};
  fs::resize_file(path, bytes.size());
}

// UNDERSTUDY_TEST_LINUX_WORDS adds to it: for a host whose KVM has a fault that the guest must be kept from.
std::string command_line() {
  const char* const words = std::getenv("UNDERSTUDY_TEST_LINUX_WORDS");
  return std::string{"console=ttyS0 quiet root=/dev/vda ro init=/init reboot=p panic=-1 guest_ip=10.77.0.10/24 load=redis"} +
         (words == nullptr ? "" : std::string{" "} + words);
}

// Whatever makes another guest makes another folder. Another machine or CPU does not: that is for the machine to refuse.
fs::path checkpoint_folder(const GuestHostConfig& config) {
  const auto kernel = read_file(config.kernel);
  const std::string words = fmt::format("{} {} {}", config.command_line, config.vcpu_count, config.memory_bytes);
  const std::uint64_t of_words = XXH3_64bits(words.data(), words.size());
  const std::uint64_t of_kernel = XXH3_64bits_withSeed(kernel.data(), kernel.size(), of_words);
  return kLinuxFiles / fmt::format("checkpoint-{:016x}", XXH3_64bits_withSeed(config.disk.data(), config.disk.size(), of_kernel));
}

}  // namespace

void store_checkpoint(const GuestCheckpoint& checkpoint, const fs::path& folder) {
  const fs::path unfinished = folder.string() + ".unfinished";
  fs::remove_all(unfinished);
  fs::create_directories(unfinished);
  write_file(unfinished / "state", checkpoint.state);
  write_file(unfinished / "memory", checkpoint.memory);
  write_file(unfinished / "disk", checkpoint.disk);
  fs::remove_all(folder);
  fs::rename(unfinished, folder);
}

GuestCheckpoint load_checkpoint(const fs::path& folder) {
  return {.state = read_file(folder / "state"), .memory = read_file(folder / "memory"), .disk = read_file(folder / "disk")};
}

GuestHostConfig linux_config(unsigned vcpus) {
  return {.memory_bytes = std::uint64_t{128} << 20,
          .vcpu_count = vcpus,
          .command_line = command_line(),
          .kernel = kLinuxFiles / "vmlinux",
          .ready_text = "guest: load runs",
          .with_net = true,
          .disk = read_file(kLinuxFiles / "root.img")};
}

std::unique_ptr<GuestHost> start_linux(const GuestHostConfig& config) {
  const fs::path folder = checkpoint_folder(config);
  if (fs::exists(folder)) {
    try {
      auto host = restore_checkpoint(config, load_checkpoint(folder));
      if (auto resumed = host->machine().resume(); !resumed) throw std::runtime_error{resumed.error().text()};
      std::printf("Linux goes on from %s\n", folder.c_str());
      return host;
    } catch (const std::runtime_error& refused) {
      std::printf("Linux boots anew: %s: %s\n", folder.c_str(), refused.what());
    }
  } else {
    std::printf("Linux boots: there is no %s yet\n", folder.c_str());
  }
  auto host = std::make_unique<GuestHost>(config);
  host->boot();
  store_checkpoint(take_checkpoint(*host), folder);
  return host;
}

void type_line(Machine& machine, const std::string& line) {
  const std::string typed = line + "\n";
  auto left = std::as_bytes(std::span{typed});
  // The port takes a few characters at a time.
  const bool done = wait_for([&] {
    left = left.subspan(machine.serial_input(left));
    return left.empty();
  });
  if (!done) throw std::runtime_error{"the guest's console takes no input"};
}

}  // namespace understudy::test
