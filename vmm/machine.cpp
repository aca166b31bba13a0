#include "vmm/machine.h"

#include <algorithm>

#include "net/base/check.h"
#include "vmm/boot/cpu_entry.h"
#include "vmm/boot/loader.h"
#include "vmm/devices/balloon/balloon.h"
#include "vmm/machine_parts.h"

namespace understudy {
namespace {

constexpr std::uint32_t kMsrMtrrDefaultType = 0x2FF;
constexpr std::uint64_t kMtrrsOnWriteBack = 0x800 | 6;  // as firmware leaves it: without, all memory is uncached

}  // namespace

Machine::Machine(std::unique_ptr<Parts> parts) : parts_{std::move(parts)} {}
Machine::~Machine() = default;

Result<void> Machine::boot() {
  if (parts_->life != Parts::Life::kFresh) return Error{ErrorCode::kRefused, "boot: this machine was booted or restored before"};
  const auto& config = parts_->config;
  const auto& devices = *parts_->devices;
  const std::string device_parameters = config.virtio_on_command_line ? devices.kernel_command_line() : "";
  US_ASSIGN(const BootEntry entry,
            load_guest({.kernel_path = config.kernel_path,
                        .initrd_path = config.initrd_path,
                        .command_line = with_kernel_words(config.command_line, parts_->kernel_help + device_parameters),
                        .protocol = config.boot_protocol,
                        .vcpu_count = config.vcpu_count,
                        .devices = devices.device_nodes()},
                       *parts_->memory));
  const int fd = parts_->vcpus.front()->fd();
  kvm_sregs2 sregs{};
  US_TRY(US_KVM_IOCTL(fd, KVM_GET_SREGS2, &sregs));
  set_boot_mode(entry.protocol, sregs);
  US_TRY(US_KVM_IOCTL(fd, KVM_SET_SREGS2, &sregs));
  kvm_regs regs = boot_registers(entry);
  US_TRY(US_KVM_IOCTL(fd, KVM_SET_REGS, &regs));
  const auto& msrs = parts_->fit.abilities.msrs;
  if (std::ranges::find(msrs, kMsrMtrrDefaultType) != msrs.end()) {
    for (const auto& vcpu : parts_->vcpus) US_TRY(write_msr(vcpu->fd(), kMsrMtrrDefaultType, kMtrrsOnWriteBack));
  }
  parts_->life = Parts::Life::kBooted;
  return {};
}

MachineFingerprint Machine::fingerprint() const { return parts_->fit.fingerprint; }
std::size_t Machine::page_count() const { return parts_->memory->page_count(); }

std::span<const std::byte, kPageSizeBytes> Machine::page(PageIndex page) const {
  US_CHECK(page.raw() < page_count());
  return parts_->memory->file().subspan(page.raw() * kPageSizeBytes).first<kPageSizeBytes>();
}

std::span<std::byte, kPageSizeBytes> Machine::page_for_writing(PageIndex page) {
  US_CHECK(page.raw() < page_count() && parts_->life != Parts::Life::kRunning);
  return parts_->memory->file().subspan(page.raw() * kPageSizeBytes).first<kPageSizeBytes>();
}

std::size_t Machine::absent_run(PageIndex page, std::size_t limit) const { return parts_->memory->absent_run(page, limit); }

void Machine::zero_pages(PageIndex first, std::size_t count) {
  US_CHECK(parts_->life != Parts::Life::kRunning);
  parts_->memory->zero(first, count);
}

Result<void> Machine::start_tracking() { return parts_->tracker->start(); }
Result<void> Machine::stop_tracking() { return parts_->tracker->stop(); }
Result<void> Machine::harvest(PageSet& into) { return parts_->tracker->harvest(into); }
void Machine::set_hot(PageIndex page, bool hot) { parts_->tracker->set_hot(page, hot); }
Duration Machine::protection_fault() const { return parts_->protection_fault; }
void Machine::merge_back(const PageSet& pages) { parts_->tracker->merge_back(pages); }

bool Machine::paused() const { return parts_->life != Parts::Life::kRunning; }

std::optional<std::string> Machine::ended() const { return parts_->end; }

Result<void> Machine::pause(Duration deadline) {
  if (!parts_->end) US_TRY(parts_->check_not_ended());
  if (paused()) return {};
  const auto until = std::chrono::steady_clock::now() + deadline;
  if (auto parked = parts_->park_all(until); !parked) {
    US_TRY(parts_->run_all());
    return parked;
  }
  const auto left = std::max(Duration{0}, std::chrono::duration_cast<Duration>(until - std::chrono::steady_clock::now()));
  if (auto quiet = parts_->devices->quiesce(left); !quiet) {
    US_TRY(parts_->run_all());
    return quiet;
  }
  parts_->life = Parts::Life::kPaused;
  if (parts_->end) return {};
  return parts_->check_not_ended();  // it may have ended on the way
}

Result<void> Machine::resume() {
  if (parts_->end) return Error{ErrorCode::kUnavailable, "resume: " + *parts_->end};
  switch (parts_->life) {
    case Parts::Life::kFresh:
      return Error{ErrorCode::kRefused, "resume: this machine was neither booted nor restored"};
    case Parts::Life::kBroken:
      return Error{ErrorCode::kRefused, "resume: this machine's restore failed; build a new one"};
    case Parts::Life::kRunning:
      return Error{ErrorCode::kRefused, "resume: this machine is running"};
    case Parts::Life::kRestored:
      US_TRY(parts_->check_not_ended());
      // Once more, so that the time between restore() and now is not guest time.
      US_TRY(parts_->apply_clock());
      break;
    case Parts::Life::kBooted:
    case Parts::Life::kPaused:
      break;
  }
  US_TRY(parts_->check_not_ended());
  parts_->devices->resume();
  US_TRY(parts_->run_all());
  parts_->life = Parts::Life::kRunning;
  return {};
}

std::optional<Instant> Machine::first_entry() const {
  const std::lock_guard lock{parts_mutex_};
  return parts_->vcpus.front()->first_entry();
}

std::optional<MachineEvent> Machine::event() const {
  const std::lock_guard replaced{parts_mutex_};
  const std::lock_guard lock{parts_->event_mutex};
  return parts_->event;
}

std::string Machine::kernel_help() const {
  const std::lock_guard lock{parts_mutex_};
  return parts_->kernel_help;
}

std::uint64_t Machine::exits() const {
  const std::lock_guard lock{parts_mutex_};
  std::uint64_t total = 0;
  for (const auto& vcpu : parts_->vcpus) total += vcpu->exits();
  return total;
}

bool Machine::press_power_button() {
  const std::lock_guard lock{parts_mutex_};
  return parts_->devices->power().press_button();
}

Result<void> Machine::set_balloon_target(std::uint64_t pages) {
  const std::lock_guard lock{parts_mutex_};
  return parts_->devices->balloon().set_target(pages);
}

Machine::BalloonPages Machine::balloon() const {
  const std::lock_guard lock{parts_mutex_};
  const Balloon& balloon = parts_->devices->balloon();
  return {balloon.target_pages(), balloon.actual_pages()};
}

std::size_t Machine::serial_input(ConstBytes bytes) {
  const std::lock_guard lock{parts_mutex_};
  return parts_->devices->serial().receive(bytes);
}

Machine::Parts::~Parts() {
  for (const auto& vcpu : vcpus) vcpu->request_park();
  for (const auto& vcpu : vcpus) {
    while (!vcpu->wait_parked(std::chrono::steady_clock::now() + std::chrono::hours{1})) continue;
  }
}

Result<void> Machine::Parts::on_every_vcpu(const std::function<Result<void>(unsigned)>& work) {
  std::vector<Result<void>> results(vcpus.size());
  for (unsigned i = 0; i < vcpus.size(); ++i) vcpus[i]->start_job([&results, &work, i] { results[i] = work(i); });
  for (const auto& vcpu : vcpus) vcpu->finish_job();
  for (unsigned i = 0; i < results.size(); ++i) {
    if (!results[i]) return std::move(results[i].error()).within("vCPU " + std::to_string(i));
  }
  return {};
}

void Machine::Parts::guest_ended(const MachineEvent& what) {
  {
    const std::lock_guard lock{event_mutex};
    if (event) return;
    event = what;
    for (const auto& vcpu : vcpus) vcpu->request_park();
  }
  if (config.on_event) config.on_event(what);
}

// On a vCPU's thread, in the midst of its exit.
void Machine::Parts::guest_told(std::uint8_t pvpanic_bits) {
  const bool panicked = (pvpanic_bits & Pvpanic::kPanicked) != 0;
  if (config.on_panic && panicked) config.on_panic("the guest panicked");
  if (config.on_panic && (pvpanic_bits & Pvpanic::kCrashLoaded) != 0) config.on_panic("the guest panicked, and handles it itself (kdump)");
  if (panicked && config.panic_ends_guest) guest_ended({MachineEventKind::kPanic, 0, "the guest panicked"});
  if ((pvpanic_bits & Pvpanic::kShutdown) != 0) guest_ended({MachineEventKind::kPowerOff, 0, "the guest told of its shutdown (pvpanic)"});
}

Result<void> Machine::Parts::check_not_ended() const {
  const std::lock_guard lock{event_mutex};
  if (!event) return {};
  return Error{ErrorCode::kUnavailable, "the guest has ended (" + std::string{name_of(event->kind)} + "): " + event->text};
}

Result<void> Machine::Parts::park_all(Vcpu::Deadline deadline) {
  for (const auto& vcpu : vcpus) vcpu->request_park();
  for (const auto& vcpu : vcpus) {
    if (!vcpu->wait_parked(deadline))
      return Error{ErrorCode::kTimeout, "pause: vCPU " + std::to_string(vcpu->index()) + " did not stop within its deadline"};
  }
  return {};
}

Result<void> Machine::Parts::run_all() {
  US_TRY(check_not_ended());
  const std::lock_guard lock{event_mutex};
  if (event) return {};  // it ended in between: the next pause() or resume() says so
  for (const auto& vcpu : vcpus) vcpu->run();
  return {};
}

}  // namespace understudy
