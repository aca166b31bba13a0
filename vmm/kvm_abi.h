// KVM's variable-length structures as C lays them out. In C++ the kernel's headers of some versions do not (an empty struct before the
// flexible array takes a byte), which moves the entries and changes the ioctl numbers, as those hold the size.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <linux/kvm.h>

#include "net/base/check.h"

namespace understudy::kvm_abi {

struct CountHeader {  // kvm_cpuid2, kvm_msrs
  std::uint32_t count;
  std::uint32_t padding;
};
struct MsrListHeader {  // kvm_msr_list
  std::uint32_t count;
};
struct Xsave {  // kvm_xsave; more bytes may follow (KVM_CAP_XSAVE2)
  std::uint32_t region[1024];
};
static_assert(sizeof(CountHeader) == 8 && sizeof(MsrListHeader) == 4 && sizeof(Xsave) == 4096);
static_assert(sizeof(kvm_cpuid_entry2) == 40 && sizeof(kvm_msr_entry) == 16);

inline constexpr unsigned long kGetMsrIndexList = _IOWR(KVMIO, 0x02, MsrListHeader);
inline constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, CountHeader);
inline constexpr unsigned long kGetMsrs = _IOWR(KVMIO, 0x88, CountHeader);
inline constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, CountHeader);
inline constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, CountHeader);
inline constexpr unsigned long kGetCpuid2 = _IOWR(KVMIO, 0x91, CountHeader);
inline constexpr unsigned long kSetXsave = _IOW(KVMIO, 0xa5, Xsave);
inline constexpr unsigned long kGetXsave2 = _IOR(KVMIO, 0xcf, Xsave);

// A header and its entries in one block of memory.
template <class Header, class Entry>
class Block {
  static_assert(sizeof(Header) % alignof(Entry) == 0);

 public:
  explicit Block(std::size_t count) : count_{count}, words_((sizeof(Header) + count * sizeof(Entry) + 7) / 8) {
    header()->count = static_cast<std::uint32_t>(count);
  }
  explicit Block(std::span<const Entry> entries) : Block{entries.size()} {
    if (!entries.empty()) std::memcpy(first(), entries.data(), entries.size_bytes());
  }
  Header* header() { return reinterpret_cast<Header*>(words_.data()); }
  // As many as the header now counts.
  std::span<const Entry> entries() { return {first(), std::min<std::size_t>(header()->count, count_)}; }

 private:
  Entry* first() { return reinterpret_cast<Entry*>(reinterpret_cast<std::byte*>(words_.data()) + sizeof(Header)); }
  std::size_t count_;
  std::vector<std::uint64_t> words_;
};
// The same on the stack, for what is done in every pause: up to `Capacity` entries.
template <class Header, class Entry, std::size_t Capacity>
struct SmallBlock {
  Header header{};
  Entry entries[Capacity];
  explicit SmallBlock(std::span<const Entry> from) {
    US_CHECK(from.size() <= Capacity);
    header.count = static_cast<std::uint32_t>(from.size());
    std::ranges::copy(from, entries);
  }
};
inline constexpr std::size_t kMaxMsrs = 512;
using MsrBlock = SmallBlock<CountHeader, kvm_msr_entry, kMaxMsrs>;
static_assert(offsetof(MsrBlock, entries) == sizeof(CountHeader));

using CpuidBlock = Block<CountHeader, kvm_cpuid_entry2>;
using MsrListBlock = Block<MsrListHeader, std::uint32_t>;

}  // namespace understudy::kvm_abi
