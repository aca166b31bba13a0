// A host for the test guest: memory, backends and a machine, and what the guest publishes.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "tests/guest/published.h"
#include "tests/kvm/guest_backends.h"
#include "vmm/machine.h"

namespace understudy::test {

// The seed of a test that rolls dice: UNDERSTUDY_TEST_SEED, or one of the moment; printed, so that a failure can be run again.
std::uint64_t test_seed();

// Waits until `condition` holds; false if it still does not after `limit` (wide: only a hang reaches it).
template <class Condition>
bool wait_for(Condition condition, std::chrono::seconds limit = std::chrono::seconds{60}) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds{200});
  }
  return true;
}

struct GuestHostConfig {
  std::uint64_t memory_bytes = std::uint64_t{16} << 20;
  unsigned vcpu_count = 1;
  std::string command_line;
  std::string kernel = UNDERSTUDY_TEST_GUEST;
  std::string ready_text{};  // on the console, once the guest is up; empty: the test guest, which publishes it
  bool with_net = false;
  std::vector<std::byte> disk{};  // empty: none
  std::chrono::microseconds slowest_disk_request{300};
  std::uint64_t seed = 1;
};

class GuestHost {
 public:
  // Builds a machine; with `image` over that memory, else over new memory.
  explicit GuestHost(const GuestHostConfig& config, std::shared_ptr<GuestMemory> image = nullptr);

  // Boots the guest and waits until it says it is ready. Throws what went wrong.
  void boot();
  // Ends the machine as a killed host would: whatever the guest does in this moment.
  void kill() { machine_.reset(); }

  Machine& machine() { return *machine_; }
  const std::shared_ptr<GuestMemory>& memory() { return memory_; }
  bool has_net() const { return net_ != nullptr; }
  bool has_disk() const { return disk_ != nullptr; }
  MemoryNet& net() { return *net_; }
  MemoryDisk& disk() { return *disk_; }
  std::string serial() const;
  // A copy of the published page; fields are each whole, not all of one instant while the guest runs.
  guest::Published published() const;
  guest::GuestState state() const { return static_cast<guest::GuestState>(published().state); }
  // What went wrong, for a test's message: the guest's state, its serial output, the machine's event.
  std::string story() const;

 private:
  struct SerialText {
    mutable std::mutex mutex;
    std::string text;
  };
  const std::string ready_text_;
  std::shared_ptr<GuestMemory> memory_;
  std::shared_ptr<MemoryNet> net_;
  std::shared_ptr<MemoryDisk> disk_;
  std::shared_ptr<SerialText> serial_ = std::make_shared<SerialText>();
  MonotonicClock clock_;
  std::unique_ptr<Machine> machine_;
};

inline constexpr std::array<unsigned char, 6> kGuestMac{0x52, 0x54, 0x00, 0x4d, 0x00, 0x0a};
inline constexpr std::uint32_t kGuestIp = 0x0A4D000A;
inline constexpr Duration kPauseDeadline = std::chrono::seconds{20};

}  // namespace understudy::test
