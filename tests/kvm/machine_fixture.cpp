#include "machine_fixture.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include <fmt/format.h>

#include "net/base/check.h"
#include "vmm/machine_state.h"

namespace understudy::test {
namespace {

const MonotonicClock kClock;

constexpr std::size_t kLapicCurrentCount = 0x390;
constexpr std::size_t kLapicProcessorPriority = 0xA0;  // follows from other registers; KVM brings it up to date now and then

MachineConfig config_for(unsigned vcpus, GuestWatch& watch) {
  MachineConfig config;
  config.vcpu_count = vcpus;
  config.command_line = "console=ttyS0";
  config.devices.serial_sink = [&watch](ConstBytes bytes) { watch.output(bytes); };
  config.on_event = [&watch](const MachineEvent& event) { watch.ended(event); };
  config.on_panic = [&watch](const std::string&) { watch.panicked(); };
  return config;
}

template <class T>
bool same(const T& left, const T& right) {
  return std::memcmp(&left, &right, sizeof left) == 0;
}

// "" or " MSRs 0x10 0x11": those that differ.
std::string msr_difference(const VcpuState& left, const VcpuState& right) {
  if (left.msrs.size() != right.msrs.size()) return " MSR count";
  std::string text;
  for (std::size_t i = 0; i < left.msrs.size(); ++i) {
    const auto& [a, b] = std::pair{left.msrs[i], right.msrs[i]};
    if (a.index != b.index || a.data != b.data) text += fmt::format("{} {:#x}", text.empty() ? " MSRs" : "", a.index);
  }
  return text;
}

std::string vcpu_difference(const VcpuState& left, const VcpuState& right) {
  std::string text;
  const auto note = [&text](bool equal, const char* what) { text += equal ? "" : std::string{" "} + what; };
  kvm_lapic_state left_lapic = left.lapic;
  kvm_lapic_state right_lapic = right.lapic;
  for (const std::size_t ignored : {kLapicCurrentCount, kLapicProcessorPriority}) {
    std::memset(left_lapic.regs + ignored, 0, 4);
    std::memset(right_lapic.regs + ignored, 0, 4);
  }
  note(same(left.mp_state, right.mp_state), "MP state");
  note(same(left.regs, right.regs), "registers");
  note(same(left.sregs, right.sregs), "special registers");
  note(left.xsave == right.xsave, "XSAVE");
  note(same(left.xcrs, right.xcrs), "XCRs");
  note(same(left.debug_regs, right.debug_regs), "debug registers");
  note(same(left_lapic, right_lapic), "LAPIC");
  note(same(left.events, right.events), "events");
  text += msr_difference(left, right);
  note(left.tsc_offset == right.tsc_offset, "TSC delta");
  note(left.tsc_deadline == right.tsc_deadline, "TSC deadline");
  return text;
}

std::string device_difference(const DecodedMachineState& left, const DecodedMachineState& right) {
  std::string text;
  const auto compared = left.with_devices([&](capnp::List<schema::DeviceState>::Reader ours) {
    return right.with_devices([&](capnp::List<schema::DeviceState>::Reader theirs) -> Result<void> {
      if (ours.size() != theirs.size()) text += " device count";
      for (unsigned i = 0; i < std::min(ours.size(), theirs.size()); ++i) {
        if (ours[i].getId() != theirs[i].getId() || ours[i].getVersion() != theirs[i].getVersion() ||
            ours[i].getState() != theirs[i].getState())
          text += fmt::format(" device {}", ours[i].getId().cStr());
      }
      return {};
    });
  });
  return compared ? text : compared.error().text();
}

}  // namespace

void GuestWatch::output(ConstBytes bytes) {
  const std::lock_guard lock{mutex_};
  serial_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void GuestWatch::ended(const MachineEvent& event) {
  const std::lock_guard lock{mutex_};
  event_ = event;
  changed_.notify_all();
}

void GuestWatch::panicked() {
  const std::lock_guard lock{mutex_};
  ++panics_;
}

void GuestWatch::forget_end() {
  const std::lock_guard lock{mutex_};
  event_.reset();
}

std::size_t GuestWatch::panics() const {
  const std::lock_guard lock{mutex_};
  return panics_;
}

std::optional<MachineEvent> GuestWatch::wait_end() {
  std::unique_lock lock{mutex_};
  changed_.wait_for(lock, kLong, [this] { return event_.has_value(); });
  return event_;
}

std::string GuestWatch::serial() const {
  const std::lock_guard lock{mutex_};
  return serial_;
}

std::uint64_t GuestMachine::word(std::uint64_t address) const {
  // The guest may be writing it: one load of the whole word.
  const auto bytes = memory->at(GuestPhysicalAddress{address}, sizeof(std::uint64_t));
  US_CHECK(bytes.has_value());
  return std::atomic_ref<std::uint64_t>{*reinterpret_cast<std::uint64_t*>(bytes->data())}.load();
}

void GuestMachine::set_word(std::uint64_t address, std::uint64_t value) {
  US_CHECK(memory->write(GuestPhysicalAddress{address}, std::as_bytes(std::span{&value, 1})));
}

void GuestMachine::load_image(std::span<const std::byte> image) {
  US_CHECK(image.size() == memory->file().size());
  for (std::size_t page = 0; page < machine->page_count(); ++page)
    std::ranges::copy(image.subspan(page * kPageSizeBytes, kPageSizeBytes), machine->page_for_writing(PageIndex{page}).begin());
}

PageSet GuestMachine::harvest() const {
  PageSet pages{machine->page_count()};
  if (auto done = machine->harvest(pages); !done) ADD_FAILURE() << done.error().text();
  return pages;
}

bool GuestMachine::wait_word_changes(std::uint64_t address, std::uint64_t from) const {
  const auto until = std::chrono::steady_clock::now() + kLong;
  while (word(address) == from) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return true;
}

GuestMachine make_machine(unsigned vcpus, std::shared_ptr<GuestMemory> memory, std::uint64_t memory_bytes) {
  GuestMachine guest;
  guest.memory = memory != nullptr ? std::move(memory) : GuestMemory::create(memory_bytes).value();
  auto machine = Machine::create(config_for(vcpus, *guest.watch), guest.memory, kClock);
  if (!machine) ADD_FAILURE() << machine.error().text();
  guest.machine = std::move(machine.value());
  return guest;
}

GuestMachine boot_machine(std::span<const std::byte> code, unsigned vcpus, bool panic_ends_guest) {
  GuestMachine guest;
  guest.kernel = std::make_unique<TemporaryFile>(make_elf(code));
  guest.memory = GuestMemory::create(kTestMemoryBytes).value();
  MachineConfig config = config_for(vcpus, *guest.watch);
  config.kernel_path = guest.kernel->path();
  config.panic_ends_guest = panic_ends_guest;
  auto machine = Machine::create(std::move(config), guest.memory, kClock);
  if (!machine) ADD_FAILURE() << machine.error().text();
  guest.machine = std::move(machine.value());
  if (auto booted = guest.machine->boot(); !booted) ADD_FAILURE() << booted.error().text();
  guest.set_word(kGuestData, vcpus);
  return guest;
}

std::vector<std::byte> copy(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

std::string difference_but_for_time(std::span<const std::byte> left_bytes, std::span<const std::byte> right_bytes) {
  const auto left = DecodedMachineState::decode(left_bytes);
  const auto right = DecodedMachineState::decode(right_bytes);
  if (!left || !right) return !left ? left.error().text() : right.error().text();
  const MachineState& a = left->state();
  const MachineState& b = right->state();
  std::string text = device_difference(*left, *right);
  if (a.vcpus.size() != b.vcpus.size()) return text + " vCPU count";
  for (std::size_t i = 0; i < a.vcpus.size(); ++i) {
    const std::string vcpu = vcpu_difference(a.vcpus[i], b.vcpus[i]);
    if (!vcpu.empty()) text += fmt::format(" vCPU {}:{}", i, vcpu);
  }
  kvm_pit_state2 a_pit = a.interrupts.pit;
  kvm_pit_state2 b_pit = b.interrupts.pit;
  for (auto& channel : a_pit.channels) channel.count_load_time = 0;
  for (auto& channel : b_pit.channels) channel.count_load_time = 0;
  if (!same(a_pit, b_pit)) text += " PIT";
  if (!same(a.interrupts.pic_master.chip, b.interrupts.pic_master.chip) || !same(a.interrupts.pic_slave.chip, b.interrupts.pic_slave.chip))
    text += " PIC";
  if (!same(a.interrupts.ioapic.chip, b.interrupts.ioapic.chip)) text += " IOAPIC";
  if (difference(a.cpuid, b.cpuid) != "" || a.cpuid.size() != b.cpuid.size()) text += " CPUID";
  if (a.clock.guest_tsc_khz != b.clock.guest_tsc_khz) text += " TSC frequency";
  return text;
}

}  // namespace understudy::test
