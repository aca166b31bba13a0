// A machine with one of the tiny guests, and what its tests ask of it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "machine_guests.h"
#include "tests/support/bounds.h"
#include "vmm/machine.h"

namespace understudy::test {

// Result in a test: its error's text is the failure's.
#define ASSERT_OK(expression)                                         \
  do {                                                                \
    const auto& us_checked = (expression);                            \
    ASSERT_TRUE(us_checked.has_value()) << us_checked.error().text(); \
  } while (false)

// Guest output and end, written by vCPU threads.
class GuestWatch {
 public:
  void output(ConstBytes bytes);
  void ended(const MachineEvent& event);
  void panicked();
  // The guest's end; nullopt when it did not come within kLong.
  std::optional<MachineEvent> wait_end();
  void forget_end();  // before the guest is started anew
  std::size_t panics() const;
  std::string serial() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string serial_;
  std::optional<MachineEvent> event_;
  std::size_t panics_ = 0;
};

struct GuestMachine {
  std::shared_ptr<GuestMemory> memory;
  std::unique_ptr<GuestWatch> watch = std::make_unique<GuestWatch>();
  std::unique_ptr<TemporaryFile> kernel;  // read again by a reboot
  std::unique_ptr<Machine> machine;

  // A word of guest memory, as it is now.
  std::uint64_t word(std::uint64_t address) const;
  void set_word(std::uint64_t address, std::uint64_t value);
  std::vector<std::byte> image() const { return {memory->file().begin(), memory->file().end()}; }
  void load_image(std::span<const std::byte> image);
  // The pages written since the last harvest; an empty set, and a failure, when the machine refuses.
  PageSet harvest() const;
  // Until the word has moved on from `from`, or kLong has passed.
  bool wait_word_changes(std::uint64_t address, std::uint64_t from) const;
};

inline constexpr std::uint64_t kTestMemoryBytes = std::uint64_t{16} << 20;

// Neither booted nor restored. Over `memory` when given, else over new memory.
GuestMachine make_machine(unsigned vcpus = 1, std::shared_ptr<GuestMemory> memory = nullptr, std::uint64_t memory_bytes = kTestMemoryBytes);
// Booted, not yet running.
GuestMachine boot_machine(std::span<const std::byte> code, unsigned vcpus = 1, bool panic_ends_guest = false);

std::vector<std::byte> copy(std::span<const std::byte> bytes);

// What differs between two saved states besides what only time moves (TSC, kvmclock, the timers' current counts); empty: nothing.
std::string difference_but_for_time(std::span<const std::byte> left, std::span<const std::byte> right);

}  // namespace understudy::test
