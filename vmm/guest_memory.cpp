#include "vmm/guest_memory.h"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include <sys/mman.h>

namespace understudy {
namespace {

// A run of zeros from this many pages on is given back to the host; a shorter one is in use, and would only be allocated again.
constexpr std::size_t kPunchPages = 16;

}  // namespace

Result<std::shared_ptr<GuestMemory>> GuestMemory::create(std::uint64_t size_bytes) {
  if (size_bytes < kMinBytes || size_bytes > kMaxBytes || size_bytes % kPageSizeBytes != 0)
    return Error{ErrorCode::kInvalid, "guest memory of " + std::to_string(size_bytes) + " bytes: give a multiple of 4096 from " +
                                          std::to_string(kMinBytes) + " to " + std::to_string(kMaxBytes)};
  UniqueFd memfd{::memfd_create("understudy-guest", MFD_CLOEXEC)};
  if (!memfd) return Error::from_errno("create guest memory: memfd_create");
  if (::ftruncate(memfd.get(), static_cast<off_t>(size_bytes)) < 0)
    return Error::from_errno("size guest memory to " + std::to_string(size_bytes) + " bytes");
  void* const base = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memfd.get(), 0);
  if (base == MAP_FAILED) return Error::from_errno("map guest memory of " + std::to_string(size_bytes) + " bytes");

  const std::uint64_t low_bytes = std::min(size_bytes, kHoleStart);
  MemoryLayout layout;
  layout.regions.push_back({GuestPhysicalAddress{0}, PageIndex{0}, low_bytes / kPageSizeBytes});
  if (size_bytes > low_bytes)
    layout.regions.push_back(
        {GuestPhysicalAddress{kHoleEnd}, PageIndex{low_bytes / kPageSizeBytes}, (size_bytes - low_bytes) / kPageSizeBytes});
  return std::shared_ptr<GuestMemory>{
      new GuestMemory{std::move(memfd), MutableBytes{static_cast<std::byte*>(base), size_bytes}, std::move(layout)}};
}

GuestMemory::GuestMemory(UniqueFd memfd, MutableBytes file, MemoryLayout layout)
    : memfd_{std::move(memfd)}, file_{file}, layout_{std::move(layout)}, host_writes_{page_count()}, maybe_absent_{page_count()} {
  maybe_absent_.insert(PageIndex{0}, page_count());
}

GuestMemory::~GuestMemory() { ::munmap(file_.data(), file_.size()); }

const MemoryRegion* GuestMemory::region_of(GuestPhysicalAddress start, std::size_t length) const {
  for (const auto& region : layout_.regions) {
    const std::uint64_t region_bytes = std::uint64_t{region.page_count} * kPageSizeBytes;
    if (start < region.start) continue;
    const std::uint64_t offset = start.raw() - region.start.raw();
    if (offset <= region_bytes && length <= region_bytes - offset) return &region;
  }
  return nullptr;
}

std::optional<MutableBytes> GuestMemory::at(GuestPhysicalAddress start, std::size_t length) const {
  const MemoryRegion* const region = region_of(start, length);
  if (region == nullptr) return std::nullopt;
  const std::uint64_t offset = region->first_page.raw() * kPageSizeBytes + (start.raw() - region->start.raw());
  return file_.subspan(offset, length);
}

void GuestMemory::mark_written(GuestPhysicalAddress start, std::size_t length) {
  if (length == 0) return;
  const MemoryRegion* const region = region_of(start, length);
  US_CHECK(region != nullptr);
  const std::uint64_t offset = region->first_page.raw() * kPageSizeBytes + (start.raw() - region->start.raw());
  const std::uint64_t last = (offset + length - 1) >> kPageShift;
  for (std::uint64_t page = offset >> kPageShift; page <= last; ++page) host_writes_.insert(PageIndex{page});
}

Result<void> GuestMemory::discard(GuestPhysicalAddress start, std::size_t length) {
  const auto bytes = at(start, length);
  if (!bytes || start.raw() % kPageSizeBytes != 0 || length % kPageSizeBytes != 0)
    return Error{ErrorCode::kInvalid, "discard " + std::to_string(length) + " bytes of guest memory at " + std::to_string(start.raw()) +
                                          ": not whole pages of one region"};
  const auto first = static_cast<std::size_t>(bytes->data() - file_.data()) / kPageSizeBytes;
  const std::size_t count = length / kPageSizeBytes;
  auto punched = punch(first, count);
  // After the change, as any mark: a harvest in between must not take the mark and then have the old content copied.
  host_writes_.insert(PageIndex{first}, count);
  return punched;
}

Result<void> GuestMemory::punch(std::size_t first, std::size_t count) {
  // KVM's mappings of these pages go before the pages do (MMU notifier), with the dirty bits of earlier writes logged: a write by the guest
  // is either gone with its page, or it faults, is logged, and is made to the page that the fault brought.
  if (count > 0 && ::fallocate(memfd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(first * kPageSizeBytes),
                               static_cast<off_t>(count * kPageSizeBytes)) < 0)
    return Error::from_errno("give " + std::to_string(count) + " pages of guest memory back to the host");
  maybe_absent_.insert(PageIndex{first}, count);
  return {};
}

std::size_t GuestMemory::seek(std::size_t from, std::size_t end, bool hole) const {
  const auto found = ::lseek(memfd_.get(), static_cast<off_t>(from * kPageSizeBytes), hole ? SEEK_HOLE : SEEK_DATA);
  if (found < 0) return end;  // ENXIO: no more data
  // Pages in swap are data. A page is the file system's smallest unit; with larger ones, a part of a page is no hole.
  const auto bytes = static_cast<std::size_t>(found);
  return std::min(end, hole ? bytes / kPageSizeBytes : (bytes + kPageSizeBytes - 1) / kPageSizeBytes);
}

std::size_t GuestMemory::absent_run(PageIndex first, std::size_t limit) {
  if (limit == 0 || !maybe_absent_.contains(first)) return 0;
  const std::size_t end = first.raw() + std::min(limit, page_count() - first.raw());
  const std::size_t held = seek(first.raw(), end, false);
  // Remembered to the end of what is held, so that a stretch in use is asked about once.
  if (held == first.raw()) maybe_absent_.remove(first, seek(held, page_count(), true) - held);
  return held - first.raw();
}

void GuestMemory::zero(PageIndex first, std::size_t count) {
  US_CHECK(first.raw() <= page_count() && count <= page_count() - first.raw());
  for (std::size_t page = first.raw(), end = page + count; page < end;) {
    const std::size_t absent = absent_run(PageIndex{page}, end - page);
    page += absent;
    if (absent > 0) continue;
    std::size_t held = 1;
    while (page + held < end && !maybe_absent_.contains(PageIndex{page + held})) ++held;
    if (held < kPunchPages || !punch(page, held)) std::memset(file_.data() + page * kPageSizeBytes, 0, held * kPageSizeBytes);
    page += held;
  }
}

bool GuestMemory::write(GuestPhysicalAddress start, ConstBytes bytes) {
  const auto target = at(start, bytes.size());
  if (!target) return false;
  if (!bytes.empty()) std::memcpy(target->data(), bytes.data(), bytes.size());
  mark_written(start, bytes.size());
  return true;
}

bool GuestMemory::read(GuestPhysicalAddress start, MutableBytes bytes) const {
  const auto source = at(start, bytes.size());
  if (!source) return false;
  if (!bytes.empty()) std::memcpy(bytes.data(), source->data(), bytes.size());
  return true;
}

}  // namespace understudy
