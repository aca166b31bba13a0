#include "tests/kvm/guest_host.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>

namespace understudy::test {

namespace {
// A Linux guest where ring 0 is emulated, on a busy machine, is up in less.
constexpr std::chrono::seconds kBootLimit{600};
}  // namespace

std::uint64_t test_seed() {
  static const std::uint64_t seed = [] {
    const char* const given = std::getenv("UNDERSTUDY_TEST_SEED");
    const std::uint64_t chosen = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    std::printf("seed: UNDERSTUDY_TEST_SEED=%llu\n", static_cast<unsigned long long>(chosen));
    return chosen;
  }();
  return seed;
}

GuestHost::GuestHost(const GuestHostConfig& config, std::shared_ptr<GuestMemory> image)
    : ready_text_{config.ready_text}, memory_{std::move(image)} {
  if (memory_ == nullptr) {
    auto made = GuestMemory::create(config.memory_bytes);
    if (!made) throw std::runtime_error{made.error().text()};
    memory_ = std::move(*made);
  }
  MachineConfig machine;
  machine.vcpu_count = config.vcpu_count;
  machine.kernel_path = config.kernel;
  machine.command_line = config.command_line;
  machine.devices.serial_sink = [serial = serial_](ConstBytes bytes) {
    const std::lock_guard lock{serial->mutex};
    serial->text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  if (config.with_net) {
    net_ = std::make_shared<MemoryNet>();
    machine.devices.net.push_back({.mac = MacAddress{kGuestMac}, .backend = net_, .queue_pairs = config.vcpu_count});
  }
  if (!config.disk.empty()) {
    disk_ = std::make_shared<MemoryDisk>(config.disk, config.slowest_disk_request, config.seed);
    machine.devices.blk.push_back({disk_});
  }
  auto made = Machine::create(std::move(machine), memory_, clock_);
  if (!made) throw std::runtime_error{made.error().text()};
  machine_ = std::move(*made);
}

void GuestHost::boot() {
  if (auto booted = machine_->boot(); !booted) throw std::runtime_error{booted.error().text()};
  if (auto resumed = machine_->resume(); !resumed) throw std::runtime_error{resumed.error().text()};
  const auto is_ready = [this] {
    return ready_text_.empty() ? published().magic == guest::kPublishedMagic : serial().find(ready_text_) != std::string::npos;
  };
  const auto has_failed = [this] {
    return machine_->event().has_value() ||
           (ready_text_.empty() && published().state > static_cast<std::uint32_t>(guest::GuestState::kRunning));
  };
  wait_for([&] { return is_ready() || has_failed(); }, kBootLimit);
  if (!is_ready()) throw std::runtime_error{"the guest did not start: " + story()};
}

std::string GuestHost::serial() const {
  const std::lock_guard lock{serial_->mutex};
  return serial_->text;
}

guest::Published GuestHost::published() const {
  guest::Published page{};
  const auto bytes = memory_->at(GuestPhysicalAddress{guest::kPublishedAddress}, sizeof page);
  // Word by word: the guest writes meanwhile.
  const auto* const from = reinterpret_cast<const volatile std::uint64_t*>(bytes->data());
  std::uint64_t words[sizeof page / 8];
  for (std::size_t i = 0; i < sizeof page / 8; ++i) words[i] = from[i];
  std::memcpy(&page, words, sizeof page);
  return page;
}

std::string GuestHost::story() const {
  std::string story = "guest state " + std::to_string(published().state) + ", serial: " + serial();
  if (machine_ != nullptr) {
    if (const auto event = machine_->event()) story += ", event: " + event->text;
  }
  return story;
}

}  // namespace understudy::test
