#include "tests/guest/virtqueue.h"

namespace understudy::guest {
namespace {

constexpr std::uint16_t kNext = 1;
constexpr std::uint16_t kDeviceWrites = 2;
constexpr std::uint16_t kNoNotify = 1;

std::uint16_t load(const std::uint16_t& word) { return __atomic_load_n(&word, __ATOMIC_ACQUIRE); }
void store(std::uint16_t& word, std::uint16_t value) { __atomic_store_n(&word, value, __ATOMIC_RELEASE); }
void full_fence() { asm volatile("mfence" ::: "memory"); }

// 2.7.10: whether moving the index from `before` to `now` passed `event`.
bool passed(std::uint16_t event, std::uint16_t now, std::uint16_t before) {
  return static_cast<std::uint16_t>(now - event - 1) < static_cast<std::uint16_t>(now - before);
}

}  // namespace

void Virtqueue::init(VirtqueueMemory& memory, std::uint16_t size, bool event_index) {
  memory_ = &memory;
  size_ = size;
  event_index_ = event_index;
  free_count_ = size;
  for (std::uint16_t i = 0; i < size; ++i) memory.descriptors[i].next = static_cast<std::uint16_t>(i + 1);
}

std::uint16_t Virtqueue::used_index() const { return load(memory_->used.index); }

std::optional<std::uint16_t> Virtqueue::add(std::span<const Segment> segments) {
  if (segments.empty() || segments.size() > free_count_) return std::nullopt;
  const std::uint16_t head = free_head_;
  std::uint16_t at = head;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    auto& descriptor = memory_->descriptors[at];
    const bool last = i + 1 == segments.size();
    descriptor.address = segments[i].address;
    descriptor.length = segments[i].length;
    descriptor.flags = static_cast<std::uint16_t>((last ? 0 : kNext) | (segments[i].device_writes ? kDeviceWrites : 0));
    at = descriptor.next;  // the free list is linked by the same field
  }
  free_head_ = at;
  free_count_ = static_cast<std::uint16_t>(free_count_ - segments.size());
  in_flight_[head] = true;
  memory_->available.ring[added_ % size_] = head;
  ++added_;
  return head;
}

bool Virtqueue::publish() {
  const std::uint16_t before = published_;
  if (before == added_) return false;
  store(memory_->available.index, added_);
  published_ = added_;
  full_fence();
  if (!event_index_) return (load(memory_->used.flags) & kNoNotify) == 0;
  // avail_event lies right after the used ring's `size` elements.
  const auto& event = size_ == VirtqueueMemory::kMaxSize ? memory_->used.available_event_if_full
                                                         : reinterpret_cast<const std::uint16_t&>(memory_->used.ring[size_]);
  return passed(load(event), added_, before);
}

std::optional<Virtqueue::Completed> Virtqueue::take() {
  if (broken_ || taken_ == used_index()) return std::nullopt;
  const auto element = memory_->used.ring[taken_ % size_];
  if (element.id >= size_ || !in_flight_[element.id]) {
    broken_ = true;
    return std::nullopt;
  }
  ++taken_;
  const auto head = static_cast<std::uint16_t>(element.id);
  in_flight_[head] = false;
  std::uint16_t tail = head;
  std::uint16_t count = 1;
  while ((memory_->descriptors[tail].flags & kNext) != 0) {
    tail = memory_->descriptors[tail].next;
    ++count;
  }
  memory_->descriptors[tail].next = free_head_;
  free_head_ = head;
  free_count_ = static_cast<std::uint16_t>(free_count_ + count);
  return Completed{head, element.length};
}

bool Virtqueue::ask_interrupt(std::uint16_t after) {
  if (event_index_) store(memory_->available.ring[size_], static_cast<std::uint16_t>(taken_ + after - 1));
  full_fence();
  return static_cast<std::uint16_t>(used_index() - taken_) >= after;
}

}  // namespace understudy::guest
