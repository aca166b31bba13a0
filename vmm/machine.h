// The assembled virtual machine: vCPUs, interrupt controllers, devices, and the guest memory that it is given.
//
// Life: create() builds a machine in which nothing runs. A primary calls boot(), then resume(). A secondary keeps one warm, and on a
// takeover calls restore(), then resume(). A guest that has ended by itself stands until reboot() or accept_end(). Destroying it stops the
// vCPUs and devices; after that nothing touches the guest memory, and another Machine may be built over it.
//
// Threading: one controlling thread at a time (never a vCPU's or the device loop's) calls everything but what is marked "any thread". A
// thread per vCPU and one for the device loop belong to the machine.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "vmm/boot/boot_protocol.h"
#include "vmm/checkpoint_source.h"
#include "vmm/device_manager.h"
#include "vmm/guest_memory.h"
#include "vmm/machine_event.h"

namespace understudy {

struct MachineConfig {
  unsigned vcpu_count = 1;                    // 1 to kMaxVcpus
  std::string kernel_path;                    // an ELF (vmlinux) or a boot image (bzImage); read by boot() alone
  std::string initrd_path;                    // empty: none; read by boot() alone
  std::optional<BootProtocol> boot_protocol;  // nullopt: the 64-bit protocol, or PVH where the file has no usable 64-bit entry
  std::string command_line;                   // boot() adds kernel_help()
  // boot() adds " virtio_mmio.device=4K@0x<base>:<gsi>" for each virtio device, in order: net devices, then disks. A kernel without ACPI
  // finds its devices by them alone; one with ACPI finds each by its tables first, and refuses it the second time.
  bool virtio_on_command_line = true;
  std::string cpu_model = "host";  // what both hosts of a pair offer their guest: see cpu_model.h
  DevicesConfig devices;
  // At most one event a boot; on a vCPU's thread, so it must not block nor call the machine. May be empty.
  std::function<void(const MachineEvent&)> on_event;
  // A panic that the guest told of (pvpanic), at most two a boot, in a sentence; on a vCPU's thread as well. May be empty.
  std::function<void(const std::string&)> on_panic;
  bool panic_ends_guest = false;  // a panic that the guest does not handle itself is also an event, kPanic
};

class Machine final : public CheckpointSource, public CheckpointTarget {
 public:
  static constexpr unsigned kMaxVcpus = 8;
  static constexpr std::size_t kMaxStateBytes = std::size_t{16} << 20;

  // kUnavailable: no /dev/kvm; kUnsupportedVersion: its API or a named capability is missing; kInvalid: configuration;
  // kRefused: the host lacks features of the CPU model.
  // `clock` outlives the machine.
  static Result<std::unique_ptr<Machine>> create(MachineConfig config, std::shared_ptr<GuestMemory> memory, const Clock& clock);
  ~Machine() override;
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // Loads kernel, initrd and boot data into guest memory and sets vCPU 0 to the kernel's entry (Linux/x86 64-bit boot protocol, or PVH);
  // the guest starts with the next resume(). kInvalid names what is wrong with kernel, initrd or command line. Only on a machine that never
  // ran.
  Result<void> boot();

  // Starts the guest anew, after it has ended by itself or while it is paused: everything but memory as create() makes it, then boot(). The
  // guest goes on with the next resume(). Dirty tracking goes on: the next harvest has what the old guest wrote and what boot() wrote.
  // Requests in flight at the disks are taken back (writes are carried out). On an error the machine stays as it was, or, where kernel or
  // initrd could not be loaded, is fresh: reboot() may be tried again.
  Result<void> reboot();
  // The guest has ended by itself and is not to be started again for now; `text` says how (one sentence, ended() gives it). From then on it
  // may be paused and saved, and never runs until reboot(). Also for the image of such a guest, restored here. kRefused while it runs.
  Result<void> accept_end(std::string text);

  // CheckpointSource and CheckpointTarget; see checkpoint_source.h.
  MachineFingerprint fingerprint() const override;
  std::size_t page_count() const override;
  std::span<const std::byte, kPageSizeBytes> page(PageIndex page) const override;
  std::span<std::byte, kPageSizeBytes> page_for_writing(PageIndex page) override;
  std::size_t absent_run(PageIndex page, std::size_t limit) const override;
  void zero_pages(PageIndex first, std::size_t count) override;
  Result<void> start_tracking() override;
  Result<void> stop_tracking() override;
  Result<void> pause(Duration deadline) override;
  Result<std::span<const std::byte>> save() override;
  Result<void> harvest(PageSet& into) override;
  void set_hot(PageIndex page, bool hot) override;
  Duration protection_fault() const override;
  void merge_back(const PageSet& pages) override;
  Result<void> check_state(std::span<const std::byte> state) const override;
  // On a machine that never ran, not even booted: else kRefused.
  Result<void> restore(std::span<const std::byte> state) override;
  Result<void> resume() override;
  bool paused() const override;
  std::optional<std::string> ended() const override;

  // What boot() adds to the command line for a Linux guest on this KVM, with a leading space: which CPU features not to use that KVM shows
  // it unasked (linux_feature_parameters), and which clock to trust. Empty on hardware virtualization. Any thread.
  std::string kernel_help() const;
  // When vCPU 0 first entered the guest since its latest boot; nullopt before. Any thread.
  std::optional<Instant> first_entry() const;
  // The event that ended the guest, if it has, since its latest boot. Any thread.
  std::optional<MachineEvent> event() const;
  // Exits from the guest since its latest boot, over all vCPUs: evidence that they live. Any thread.
  std::uint64_t exits() const;
  // Presses the guest's power button, as an operator's wish that it shuts itself down. False: the guest does not listen (no ACPI, or not
  // yet). While paused the press waits for resume(). Any thread.
  bool press_power_button();
  // How many pages (4 KiB) the guest is asked to give back: Balloon::set_target(). Any thread.
  Result<void> set_balloon_target(std::uint64_t pages);
  // What it was asked for, and says it gave back. Any thread.
  struct BalloonPages {
    std::uint64_t target = 0;
    std::uint64_t actual = 0;
  };
  BalloonPages balloon() const;
  // Offers bytes to the guest's serial port; returns how many it took. Any thread.
  std::size_t serial_input(ConstBytes bytes);

 private:
  struct Parts;
  explicit Machine(std::unique_ptr<Parts> parts);
  // Replaced by reboot() alone, under the mutex; so the controlling thread reads it without, and any other thread with it.
  std::unique_ptr<Parts> parts_;
  mutable std::mutex parts_mutex_;
};

}  // namespace understudy
