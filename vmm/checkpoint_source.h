// The machine as checkpoints see it, in separate steps: pause, save, harvest, (copy), resume; and on the other side: write pages, restore,
// run.
//
// One thread at a time drives a source or target; it is not a vCPU's or the device loop's. The implementation is Machine; simulations have
// their own.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "net/base/clock.h"
#include "net/base/ids.h"
#include "net/base/result.h"
#include "vmm/page_set.h"

namespace understudy {

// Where guest memory lies: its file is dense, the guest sees it in regions around the 32-bit hole. Equal on both nodes of a pair.
struct MemoryRegion {
  GuestPhysicalAddress start;
  PageIndex first_page;
  std::size_t page_count = 0;
  friend bool operator==(const MemoryRegion&, const MemoryRegion&) = default;
};
struct MemoryLayout {
  std::vector<MemoryRegion> regions;  // ascending, without overlap
  std::size_t page_count() const {
    std::size_t total = 0;
    for (const auto& region : regions) total += region.page_count;
    return total;
  }
  friend bool operator==(const MemoryLayout&, const MemoryLayout&) = default;
};

// What the two hosts must agree on before one can continue the other's guest.
struct MachineFingerprint {
  MemoryLayout layout;
  unsigned vcpu_count = 0;
  std::uint64_t tsc_khz = 0;                     // frequency the guest's TSC runs at
  bool tsc_scalable = false;                     // this host's KVM can run a guest at another frequency
  std::uint64_t xsave_bytes = 0;                 // size of a vCPU's XSAVE area
  std::vector<std::uint32_t> cpu_feature_words;  // the guest-visible CPUID feature words, in a fixed order (see vmm/README.md)
  std::vector<std::string> device_ids;           // in creation order, with geometry ("blk0:67108864")
};

class CheckpointSource {
 public:
  virtual ~CheckpointSource() = default;

  virtual MachineFingerprint fingerprint() const = 0;
  virtual std::size_t page_count() const = 0;
  // One page of guest memory; valid while the source lives. While the guest runs its content may change during a read.
  virtual std::span<const std::byte, kPageSizeBytes> page(PageIndex page) const = 0;

  // How many pages from `page` on, at most `limit`, hold no memory on this host: zeros, which page() would allocate. 0: read page(). What
  // is said of a page that a running guest writes is as old as what page() reads.
  virtual std::size_t absent_run(PageIndex page, std::size_t limit) const = 0;

  // Starts dirty tracking: from the return on, every write by guest, KVM or VMM is reported by a later harvest(). The set of writes
  // before is undefined; the caller copies every page after this. Idempotent.
  virtual Result<void> start_tracking() = 0;
  virtual Result<void> stop_tracking() = 0;

  // Stops all vCPUs at a whole instruction (pending I/O and MMIO completed) and the devices' hands on the rings. Requests in flight stay
  // so. kTimeout if a vCPU or the device loop did not stop within `deadline`: the machine then runs on as if not asked.
  virtual Result<void> pause(Duration deadline) = 0;
  // The whole machine but for memory: vCPUs, irqchip, clock, devices. Only while paused. Valid until the next save().
  virtual Result<std::span<const std::byte>> save() = 0;
  // Adds to `into` every page written since the last harvest, and write-protects them again (but for hot ones): a page is protected before
  // the caller copies it. While paused, call after save(): KVM itself writes guest memory during save. May also be called while the guest
  // runs (pre-copy). On error nothing is lost: the pages are reported again.
  virtual Result<void> harvest(PageSet& into) = 0;
  // A hot page, once written, is not protected again: every harvest reports it, written anew or not, and no write to it costs the guest a
  // fault. No longer hot: the next harvest reports it once more and protects it. No page is hot at first, nor after stop_tracking().
  virtual void set_hot(PageIndex page, bool hot) = 0;
  // What the guest's first write to a protected page costs it on this host, as measured.
  virtual Duration protection_fault() const = 0;
  // Gives back pages of a harvest whose epoch was aborted: the next harvest reports them again.
  virtual void merge_back(const PageSet& pages) = 0;
  virtual Result<void> resume() = 0;
  virtual bool paused() const = 0;
  // How the guest ended by itself, in a sentence, once its owner has accepted that it is over: such a source can be paused and saved, but
  // never resumed. nullopt while it lives, and while it has ended and its owner may yet start it again (then it cannot be paused).
  virtual std::optional<std::string> ended() const = 0;
};

class CheckpointTarget {
 public:
  virtual ~CheckpointTarget() = default;

  virtual MachineFingerprint fingerprint() const = 0;
  virtual std::size_t page_count() const = 0;
  // As of a CheckpointSource: reading the image, to compare it.
  virtual std::span<const std::byte, kPageSizeBytes> page(PageIndex page) const = 0;
  virtual std::size_t absent_run(PageIndex page, std::size_t limit) const = 0;

  // For writing a page of the image; only while the guest does not run.
  virtual std::span<std::byte, kPageSizeBytes> page_for_writing(PageIndex page) = 0;

  // Makes pages of the image zeros, without memory for them where there was none; only while the guest does not run.
  virtual void zero_pages(PageIndex first, std::size_t count) = 0;

  // Parses and checks a saved state against this machine without changing it: the reason when it does not fit. The secondary asks this
  // before it acks.
  virtual Result<void> check_state(std::span<const std::byte> state) const = 0;
  // Puts the machine into the saved state, paused; memory was written before. Every queue counts as kicked, every device's interrupt as
  // raised.
  virtual Result<void> restore(std::span<const std::byte> state) = 0;
  // Runs the guest from where it stands.
  virtual Result<void> resume() = 0;
};

}  // namespace understudy
