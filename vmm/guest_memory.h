// Guest memory: one memfd, mapped once, seen by the guest in regions around the 32-bit hole.
//
// Every write that the VMM itself makes goes through here or is reported to mark_written(): KVM's dirty log does not see it.
//
// The host holds a page only from its first touch on, and no more once it was discarded: the memfd has a hole there, which reads as zeros.
// A read through the mapping, too, is a touch; who only wants to know asks absent_run() first.
// Threading: translate and mark from any thread; the mapping lives as long as the object.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "net/base/ids.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"
#include "vmm/backend.h"
#include "vmm/checkpoint_source.h"
#include "vmm/page_set.h"

namespace understudy {

class GuestMemory {
 public:
  static constexpr std::uint64_t kMinBytes = std::uint64_t{4} << 20;
  static constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 40;
  // Guest RAM lies below the hole's start and from its end on (MMIO, IOAPIC and LAPIC live between).
  static constexpr std::uint64_t kHoleStart = 0xC000'0000;
  static constexpr std::uint64_t kHoleEnd = 0x1'0000'0000;

  // `size_bytes`: a multiple of 4 KiB, kMinBytes to kMaxBytes; else kInvalid. Zero-filled, allocated on first touch.
  static Result<std::shared_ptr<GuestMemory>> create(std::uint64_t size_bytes);
  ~GuestMemory();
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;

  const MemoryLayout& layout() const { return layout_; }
  std::size_t page_count() const { return file_.size() / kPageSizeBytes; }
  int fd() const { return memfd_.get(); }
  MutableBytes file() const { return file_; }  // dense, in page order

  // The bytes at [start, start + length) when they lie in one region; nullopt otherwise, also when the sum overflows.
  // A caller that writes through the span reports it with mark_written().
  std::optional<MutableBytes> at(GuestPhysicalAddress start, std::size_t length) const;
  // Reports a write by the VMM to [start, start + length), which lies in one region. Call after the write is made.
  void mark_written(GuestPhysicalAddress start, std::size_t length);
  // Copies in and marks; false when the range is not guest memory.
  bool write(GuestPhysicalAddress start, ConstBytes bytes);
  bool read(GuestPhysicalAddress start, MutableBytes bytes) const;

  // Gives [start, start + length), whole pages in one region, back to the host: they are zeros from the return on, for guest and VMM, and
  // marked as written. kInvalid: no such pages; else the host refused, and each page is zeros or as it was.
  Result<void> discard(GuestPhysicalAddress start, std::size_t length);
  // How many pages from `first` on, at most `limit`, the host holds nothing of. A page that a running guest touches meanwhile may count
  // as either. Cheap (no system call) where pages are long since in use. One thread at a time.
  std::size_t absent_run(PageIndex first, std::size_t limit);
  // Makes `count` pages from `first` on zeros, without a mark, and holds no more of them than before. While no guest runs; one thread.
  void zero(PageIndex first, std::size_t count);

  // Pages the VMM wrote since the last drain.
  AtomicPageSet& host_writes() { return host_writes_; }

 private:
  GuestMemory(UniqueFd memfd, MutableBytes file, MemoryLayout layout);
  // The next page from `from` on (up to `end`) that the host holds, or with `hole` one that it does not.
  std::size_t seek(std::size_t from, std::size_t end, bool hole) const;
  Result<void> punch(std::size_t first, std::size_t count);
  const MemoryRegion* region_of(GuestPhysicalAddress start, std::size_t length) const;

  const UniqueFd memfd_;
  const MutableBytes file_;
  const MemoryLayout layout_;
  AtomicPageSet host_writes_;
  // The pages that the host holds nothing of, and some that it does: a page leaves the set when it was found to be held. (One that is
  // discarded in that very moment may fall out; it is then read, and held again.)
  AtomicPageSet maybe_absent_;
};

}  // namespace understudy
