// KVM's dirty log for the slots that KvmVm::set_memory() made.
#pragma once

#include "vmm/dirty_tracker.h"
#include "vmm/kvm.h"

namespace understudy {

class KvmDirtyLog final : public DirtyLog {
 public:
  // Both outlive the log.
  KvmDirtyLog(KvmVm& vm, const GuestMemory& memory) : vm_{vm}, memory_{memory} {}

  Result<void> start() override { return vm_.set_memory(memory_, KVM_MEM_LOG_DIRTY_PAGES); }
  Result<void> stop() override { return vm_.set_memory(memory_, 0); }
  Result<void> read(std::uint32_t slot, std::span<std::uint64_t> bitmap) override;
  Result<void> clear(std::uint32_t slot, std::uint64_t first_page, std::uint32_t page_count,
                     std::span<const std::uint64_t> bitmap) override;

 private:
  KvmVm& vm_;
  const GuestMemory& memory_;
};

}  // namespace understudy
