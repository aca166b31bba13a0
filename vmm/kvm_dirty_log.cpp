#include "vmm/kvm_dirty_log.h"

namespace understudy {

Result<void> KvmDirtyLog::read(std::uint32_t slot, std::span<std::uint64_t> bitmap) {
  kvm_dirty_log request{};
  request.slot = slot;
  request.dirty_bitmap = bitmap.data();
  US_TRY(US_KVM_IOCTL(vm_.fd(), KVM_GET_DIRTY_LOG, &request));
  return {};
}

Result<void> KvmDirtyLog::clear(std::uint32_t slot, std::uint64_t first_page, std::uint32_t page_count,
                                std::span<const std::uint64_t> bitmap) {
  kvm_clear_dirty_log request{};
  request.slot = slot;
  request.first_page = first_page;
  request.num_pages = page_count;
  request.dirty_bitmap = const_cast<std::uint64_t*>(bitmap.data());  // only read
  US_TRY(US_KVM_IOCTL(vm_.fd(), KVM_CLEAR_DIRTY_LOG, &request));
  return {};
}

}  // namespace understudy
