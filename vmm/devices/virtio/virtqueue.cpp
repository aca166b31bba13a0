#include "vmm/devices/virtio/virtqueue.h"

#include <atomic>
#include <bit>
#include <cstring>
#include <limits>

namespace understudy {

static_assert(std::endian::native == std::endian::little, "virtio's rings are little-endian and read in place");

// virtio 1.2, 2.7.5.
struct Virtqueue::Descriptor {
  static constexpr std::uint16_t kNext = 1;
  static constexpr std::uint16_t kWrite = 2;
  static constexpr std::uint16_t kIndirect = 4;
  std::uint64_t address;
  std::uint32_t length;
  std::uint16_t flags;
  std::uint16_t next;

  // One read of each field: the driver may change memory under us, and what was checked must be what is used. An indirect table need not
  // be aligned, hence no atomics.
  static Descriptor load(const std::byte* table, std::size_t index) {
    Descriptor copy;
    std::memcpy(&copy, table + index * sizeof copy, sizeof copy);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return copy;
  }
};

namespace {

constexpr std::size_t kDescriptorBytes = 16;
constexpr std::uint16_t kNoInterrupt = 1;    // avail.flags
constexpr std::uint16_t kNoNotify = 1;       // used.flags
constexpr std::uint64_t kFlagsOffset = 0;    // of either ring
constexpr std::uint64_t kIndexOffset = 2;    // of either ring
constexpr std::uint64_t kEntriesOffset = 4;  // of either ring

std::uint64_t available_ring_bytes(std::uint16_t size) { return 6 + std::uint64_t{2} * size; }
std::uint64_t used_ring_bytes(std::uint16_t size) { return 6 + std::uint64_t{8} * size; }

template <class Integer>
std::atomic_ref<Integer> field(std::byte* ring, std::uint64_t offset) {
  return std::atomic_ref<Integer>{*reinterpret_cast<Integer*>(ring + offset)};
}

}  // namespace

Result<void> Virtqueue::check(const GuestMemory& memory, const QueueState& state) {
  static_assert(sizeof(Descriptor) == kDescriptorBytes);
  if (state.size == 0 || state.size > kMaxQueueSize || !std::has_single_bit(state.size))
    return Error{ErrorCode::kInvalid,
                 "queue size " + std::to_string(state.size) + ": must be a power of two up to " + std::to_string(kMaxQueueSize)};
  const struct {
    const char* name;
    std::uint64_t address;
    std::uint64_t bytes;
    std::uint64_t alignment;
  } areas[] = {{"descriptor table", state.descriptors, kDescriptorBytes * state.size, 16},
               {"available ring", state.driver_area, available_ring_bytes(state.size), 2},
               {"used ring", state.device_area, used_ring_bytes(state.size), 4}};
  for (const auto& area : areas) {
    if (area.address % area.alignment != 0)
      return Error{ErrorCode::kInvalid, std::string{area.name} + " at " + std::to_string(area.address) + ": not aligned to " +
                                            std::to_string(area.alignment) + " bytes"};
    if (!memory.at(GuestPhysicalAddress{area.address}, area.bytes))
      return Error{ErrorCode::kInvalid, std::string{area.name} + " at " + std::to_string(area.address) + " of " +
                                            std::to_string(area.bytes) + " bytes: not in guest memory"};
  }
  return {};
}

Result<void> Virtqueue::activate(const QueueState& state, bool event_index, bool indirect) {
  US_TRY(check(*memory_, state));
  size_ = state.size;
  descriptors_ = memory_->at(GuestPhysicalAddress{state.descriptors}, kDescriptorBytes * size_)->data();
  available_ = memory_->at(GuestPhysicalAddress{state.driver_area}, available_ring_bytes(size_))->data();
  used_address_ = GuestPhysicalAddress{state.device_area};
  used_ = memory_->at(used_address_, used_ring_bytes(size_))->data();
  next_available_ = state.next_available;
  next_used_ = published_used_ = state.next_used;
  event_index_ = event_index;
  indirect_ = indirect;
  active_ = true;
  return {};
}

// Our stores to the used ring's header and our loads from the available ring's are sequentially consistent. The driver enables interrupts,
// then looks at the used index; we move the index, then look whether it enabled them (2.7.7.2). Without the full barrier in between both
// may miss; the same holds with the roles changed for notifications (2.7.10).
std::uint16_t Virtqueue::load_available(std::uint64_t offset) const {
  return field<std::uint16_t>(available_, offset).load(std::memory_order_seq_cst);
}

void Virtqueue::store_used(std::uint64_t offset, std::uint16_t value) {
  field<std::uint16_t>(used_, offset).store(value, std::memory_order_seq_cst);
  memory_->mark_written(GuestPhysicalAddress{used_address_.raw() + offset}, sizeof value);
}

bool Virtqueue::has_available() const { return load_available(kIndexOffset) != next_available_; }

Pop Virtqueue::pop(Chain& chain) {
  // Acquires, too: the driver filled the ring before it moved the index (2.7.13.3).
  const std::uint16_t index = load_available(kIndexOffset);
  const auto waiting = static_cast<std::uint16_t>(index - next_available_);
  if (waiting == 0) return Pop::kEmpty;
  if (waiting > size_) return broken("the available index moved by more than the queue's size");
  const std::uint16_t head = load_available(kEntriesOffset + std::uint64_t{2} * (next_available_ % size_));
  if (!read_chain(head, chain)) return Pop::kBroken;
  ++next_available_;
  return Pop::kChain;
}

bool Virtqueue::read_chain(std::uint16_t head, Chain& chain) {
  const auto fail = [&](const char* why) { return broken(why) != Pop::kBroken; };
  const std::byte* table = descriptors_;
  std::size_t table_size = size_;
  std::size_t limit = size_;  // a longer chain loops
  bool in_indirect = false;
  chain.head = head;
  chain.readable_count = chain.count = 0;
  chain.readable_bytes = chain.writable_bytes = 0;
  for (std::uint16_t index = head;;) {
    if (index >= table_size) return fail("a descriptor index lies outside its table");
    const Descriptor descriptor = Descriptor::load(table, index);
    const GuestPhysicalAddress address{descriptor.address};
    if ((descriptor.flags & Descriptor::kIndirect) != 0) {
      // 2.7.5.3: one level, the last of the chain, and only if negotiated.
      if (!indirect_) return fail("an indirect descriptor without VIRTIO_F_INDIRECT_DESC");
      if (in_indirect) return fail("an indirect descriptor inside an indirect table");
      if ((descriptor.flags & Descriptor::kNext) != 0) return fail("an indirect descriptor with a next one");
      if (descriptor.length == 0 || descriptor.length % kDescriptorBytes != 0)
        return fail("an indirect table whose length is no multiple of 16");
      const auto indirect_table = memory_->at(address, descriptor.length);
      if (!indirect_table) return fail("an indirect table outside guest memory");
      table = indirect_table->data();
      table_size = descriptor.length / kDescriptorBytes;
      limit = kMaxQueueSize;
      in_indirect = true;
      index = 0;
      continue;
    }
    if (chain.count == limit) return fail("a chain longer than the queue, or a loop");
    if (!memory_->at(address, descriptor.length)) return fail("a buffer outside guest memory");
    chain.segments[chain.count++] = {address, descriptor.length};
    if ((descriptor.flags & Descriptor::kWrite) != 0) {
      chain.writable_bytes += descriptor.length;
    } else {
      if (chain.count - 1 != chain.readable_count) return fail("a readable buffer after a writable one");
      ++chain.readable_count;
      chain.readable_bytes += descriptor.length;
    }
    if ((descriptor.flags & Descriptor::kNext) == 0) break;
    index = descriptor.next;
  }
  if (chain.writable_bytes > std::numeric_limits<std::uint32_t>::max()) return fail("a chain of 4 GiB or more");
  return true;
}

void Virtqueue::push(std::uint16_t head, std::uint32_t written_bytes) {
  const std::uint64_t offset = kEntriesOffset + std::uint64_t{8} * (next_used_ % size_);
  field<std::uint32_t>(used_, offset).store(head, std::memory_order_relaxed);
  field<std::uint32_t>(used_, offset + 4).store(written_bytes, std::memory_order_relaxed);
  memory_->mark_written(GuestPhysicalAddress{used_address_.raw() + offset}, 8);
  ++next_used_;
}

bool Virtqueue::publish() {
  if (next_used_ == published_used_) return false;
  const std::uint16_t old = published_used_;
  // Releases, too: the entries and the buffers' content come before the index.
  store_used(kIndexOffset, next_used_);
  published_used_ = next_used_;
  if (!event_index_) return (load_available(kFlagsOffset) & kNoInterrupt) == 0;
  const std::uint16_t event = load_available(used_event_offset());
  return static_cast<std::uint16_t>(next_used_ - event - 1) < static_cast<std::uint16_t>(next_used_ - old);
}

bool Virtqueue::enable_notifications(std::uint16_t seen) {
  const auto next = static_cast<std::uint16_t>(next_available_ + seen);
  if (event_index_) {
    store_used(available_event_offset(), next);
  } else {
    store_used(kFlagsOffset, 0);
  }
  return load_available(kIndexOffset) != next;
}

void Virtqueue::disable_notifications() {
  // With the event index a stale event is enough: the driver passed it already.
  if (!event_index_) store_used(kFlagsOffset, kNoNotify);
}

}  // namespace understudy
