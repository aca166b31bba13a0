#include "vmm/guest_memory.h"

#include <algorithm>
#include <cstring>

#include <sys/mman.h>

namespace understudy {

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
    : memfd_{std::move(memfd)}, file_{file}, layout_{std::move(layout)}, host_writes_{file.size() / kPageSizeBytes} {}

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
