#include "vmm/kvm.h"

#include <algorithm>
#include <fcntl.h>

#include <sys/ioctl.h>

#include "vmm/kvm_abi.h"

namespace understudy {
namespace {

// Kernels since 6.0 have all of them on hardware with VMX or SVM.
struct Needed {
  int cap;
  const char* name;
};
constexpr Needed kNeeded[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
    {KVM_CAP_PIT2, "KVM_CAP_PIT2"},
    {KVM_CAP_PIT_STATE2, "KVM_CAP_PIT_STATE2"},
    {KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
    {KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
    {KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
    {KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS"},
    {KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},
    {KVM_CAP_XSAVE2, "KVM_CAP_XSAVE2"},
    {KVM_CAP_XCRS, "KVM_CAP_XCRS"},
    {KVM_CAP_SREGS2, "KVM_CAP_SREGS2"},
    {KVM_CAP_EXCEPTION_PAYLOAD, "KVM_CAP_EXCEPTION_PAYLOAD"},
    {KVM_CAP_X86_TRIPLE_FAULT_EVENT, "KVM_CAP_X86_TRIPLE_FAULT_EVENT"},
    {KVM_CAP_VCPU_ATTRIBUTES, "KVM_CAP_VCPU_ATTRIBUTES"},
    {KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK"},
    {KVM_CAP_GET_TSC_KHZ, "KVM_CAP_GET_TSC_KHZ"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
    {KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2"},
};

// Both lie in the hole, below the firmware's place, where QEMU has them too.
constexpr std::uint64_t kVmxIdentityMap = 0xFFFB'C000;
constexpr unsigned long kVmxTss = 0xFFFB'D000;

constexpr std::size_t kMaxCpuidEntries = 256;
constexpr std::size_t kMaxMsrIndices = 1024;

}  // namespace

Result<int> kvm_ioctl(int fd, unsigned long request, void* argument, std::string_view name) {
  int result = 0;
  do result = ::ioctl(fd, request, argument);
  while (result < 0 && errno == EINTR);
  if (result < 0) return Error::from_errno(name);
  return result;
}

Result<int> kvm_ioctl(int fd, unsigned long request, unsigned long argument, std::string_view name) {
  return kvm_ioctl(fd, request, reinterpret_cast<void*>(argument), name);
}

Result<Kvm> Kvm::open(const char* path) {
  UniqueFd fd{::open(path, O_RDWR | O_CLOEXEC)};
  if (!fd) {
    const int why = errno;
    const char* const mend = why == EACCES || why == EPERM
                                 ? "; give this user access to it (group kvm)"
                                 : "; this host has no usable KVM: enable virtualization in its firmware and load kvm_intel or kvm_amd";
    Error error = Error::from_errno(std::string{"open "} + path, why);
    return Error{error.code(), error.text() + mend};
  }
  const int version = ::ioctl(fd.get(), KVM_GET_API_VERSION, 0);
  if (version < 0) return Error::from_errno(std::string{"KVM_GET_API_VERSION on "} + path);
  if (version != KVM_API_VERSION)
    return Error{ErrorCode::kUnsupportedVersion,
                 std::string{path} + " has KVM API version " + std::to_string(version) + ", needed is " + std::to_string(KVM_API_VERSION)};
  Kvm kvm{std::move(fd)};
  for (const auto& needed : kNeeded) {
    if (kvm.capability(needed.cap) == 0)
      return Error{ErrorCode::kUnsupportedVersion,
                   std::string{path} + " lacks " + needed.name + ": run a kernel of version 6.0 or later with full x86 KVM"};
  }
  return kvm;
}

int Kvm::capability(int cap) const { return std::max(0, ::ioctl(fd_.get(), KVM_CHECK_EXTENSION, cap)); }

Result<KvmVm> Kvm::create_vm() const {
  US_ASSIGN(const int fd, US_KVM_IOCTL(fd_.get(), KVM_CREATE_VM, 0UL));
  return KvmVm{UniqueFd{fd}};
}

Result<std::size_t> Kvm::vcpu_mmap_bytes() const {
  US_ASSIGN(const int bytes, US_KVM_IOCTL(fd_.get(), KVM_GET_VCPU_MMAP_SIZE, 0UL));
  return static_cast<std::size_t>(bytes);
}

Result<std::vector<kvm_cpuid_entry2>> Kvm::supported_cpuid() const {
  kvm_abi::CpuidBlock block{kMaxCpuidEntries};
  US_TRY(kvm_ioctl(fd_.get(), kvm_abi::kGetSupportedCpuid, block.header(), "KVM_GET_SUPPORTED_CPUID"));
  return std::vector<kvm_cpuid_entry2>(block.entries().begin(), block.entries().end());
}

Result<std::vector<std::uint32_t>> Kvm::msr_indices() const {
  kvm_abi::MsrListBlock block{kMaxMsrIndices};
  US_TRY(kvm_ioctl(fd_.get(), kvm_abi::kGetMsrIndexList, block.header(), "KVM_GET_MSR_INDEX_LIST"));
  return std::vector<std::uint32_t>(block.entries().begin(), block.entries().end());
}

int KvmVm::capability(int cap) const { return std::max(0, ::ioctl(fd_.get(), KVM_CHECK_EXTENSION, cap)); }

Result<void> KvmVm::set_vmx_pages() {
  std::uint64_t identity_map = kVmxIdentityMap;
  US_TRY(US_KVM_IOCTL(fd_.get(), KVM_SET_IDENTITY_MAP_ADDR, &identity_map));
  US_TRY(US_KVM_IOCTL(fd_.get(), KVM_SET_TSS_ADDR, kVmxTss));
  return {};
}

Result<void> KvmVm::create_irqchip_and_pit() {
  US_TRY(US_KVM_IOCTL(fd_.get(), KVM_CREATE_IRQCHIP, 0UL));
  kvm_pit_config config{};
  // The speaker's port 0x61 answers in the kernel: guests calibrate their clocks by it.
  config.flags = KVM_PIT_SPEAKER_DUMMY;
  US_TRY(US_KVM_IOCTL(fd_.get(), KVM_CREATE_PIT2, &config));
  return {};
}

Result<UniqueFd> KvmVm::create_vcpu(unsigned index) {
  US_ASSIGN(const int fd, US_KVM_IOCTL(fd_.get(), KVM_CREATE_VCPU, static_cast<unsigned long>(index)));
  return UniqueFd{fd};
}

Result<void> KvmVm::set_memory(const GuestMemory& memory, std::uint32_t flags) {
  std::uint32_t slot = 0;
  for (const auto& region : memory.layout().regions) {
    kvm_userspace_memory_region request{};
    request.slot = slot++;
    request.flags = flags;
    request.guest_phys_addr = region.start.raw();
    request.memory_size = std::uint64_t{region.page_count} * kPageSizeBytes;
    request.userspace_addr = reinterpret_cast<std::uint64_t>(memory.file().data()) + region.first_page.raw() * kPageSizeBytes;
    US_TRY(US_KVM_IOCTL(fd_.get(), KVM_SET_USER_MEMORY_REGION, &request));
  }
  return {};
}

Result<void> KvmVm::enable_capabilities() {
  const auto dirty_log_flags = static_cast<std::uint64_t>(capability(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2)) &
                               (KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET);
  const std::pair<std::uint32_t, std::uint64_t> wanted[] = {
      {KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, dirty_log_flags}, {KVM_CAP_EXCEPTION_PAYLOAD, 1}, {KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1}};
  for (const auto& [cap, argument] : wanted) {
    kvm_enable_cap request{};
    request.cap = cap;
    request.args[0] = argument;
    if (auto done = US_KVM_IOCTL(fd_.get(), KVM_ENABLE_CAP, &request); !done)
      return std::move(done.error()).within("enable capability " + std::to_string(cap));
  }
  return {};
}

Result<void> KvmVm::add_irqfd(int fd, std::uint32_t gsi) {
  kvm_irqfd request{};
  request.fd = static_cast<std::uint32_t>(fd);
  request.gsi = gsi;
  US_TRY(US_KVM_IOCTL(fd_.get(), KVM_IRQFD, &request));
  return {};
}

Result<void> KvmVm::add_ioeventfd(int fd, GuestPhysicalAddress address, std::uint32_t value) {
  kvm_ioeventfd request{};
  request.datamatch = value;
  request.addr = address.raw();
  request.len = 4;
  request.fd = fd;
  request.flags = KVM_IOEVENTFD_FLAG_DATAMATCH;
  US_TRY(US_KVM_IOCTL(fd_.get(), KVM_IOEVENTFD, &request));
  return {};
}

}  // namespace understudy
