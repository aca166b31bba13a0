// The disk requests that were taken from the ring and not yet given back, in the order in which they were taken.
//
// A request is named by its chain's head, which the driver cannot use again before it gets it back. All room is allocated at the start.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "net/base/check.h"
#include "net/base/clock.h"
#include "vmm/backend.h"
#include "vmm/devices/virtio/virtqueue.h"

namespace understudy {

// Data segments of one request at most: what the device announces as seg_max, and two for a driver's odd cuts.
inline constexpr std::uint32_t kBlkMaxSegments = 126;
// Extents of one discard or write-zeroes request at most (max_discard_seg, max_write_zeroes_seg).
inline constexpr std::uint32_t kBlkMaxExtents = 16;

struct BlkRequest {
  BlockOperation operation = BlockOperation::kFlush;
  bool keep_space = false;  // of zeros
  std::uint16_t segment_count = 0;
  std::uint16_t extent_count = 0;
  std::uint64_t offset_bytes = 0;
  std::uint64_t data_bytes = 0;
  std::array<Segment, kBlkMaxSegments + 2> segments;
  std::array<BlockExtent, kBlkMaxExtents> extents;  // of zeros
  GuestPhysicalAddress status_address;

  std::span<const Segment> data() const { return std::span{segments}.first(segment_count); }
  std::span<const BlockExtent> zeros() const { return std::span{extents}.first(extent_count); }
};

class RequestTable {
 public:
  static constexpr std::uint16_t kNone = 0xFFFF;

  RequestTable() : slots_{std::make_unique<Slot[]>(kMaxQueueSize)} {}

  // The slot of `head`, to be filled before add(). Only while !contains(head).
  BlkRequest& prepare(std::uint16_t head) {
    US_CHECK(!contains(head));
    return slots_[head].request;
  }
  bool contains(std::uint16_t head) const { return slot(head).used; }
  const BlkRequest& request(std::uint16_t head) const { return slot(head).request; }

  // Appends what was prepared.
  void add(std::uint16_t head) {
    Slot& added = slot(head);
    US_CHECK(!added.used);
    added.used = true;
    added.submitted = false;
    added.previous = last_;
    added.next = kNone;
    (last_ == kNone ? first_ : slots_[last_].next) = head;
    last_ = head;
    if (first_waiting_ == kNone) first_waiting_ = head;
  }
  // The backend took the first of those that wait.
  void submitted(std::uint16_t head, Instant now) {
    US_CHECK(head == first_waiting_);
    slot(head).submitted = true;
    slot(head).since = now;
    first_waiting_ = slot(head).next;
    ++submitted_count_;
  }
  bool is_submitted(std::uint16_t head) const { return slot(head).used && slot(head).submitted; }
  void remove(std::uint16_t head) {
    Slot& removed = slot(head);
    US_CHECK(removed.used && removed.submitted);
    (removed.previous == kNone ? first_ : slots_[removed.previous].next) = removed.next;
    (removed.next == kNone ? last_ : slots_[removed.next].previous) = removed.previous;
    removed.used = false;
    --submitted_count_;
  }
  // Drops what no backend holds; nothing is submitted.
  void clear() {
    US_CHECK(submitted_count_ == 0);
    for (std::uint16_t head = first_; head != kNone; head = slots_[head].next) slots_[head].used = false;
    first_ = last_ = first_waiting_ = kNone;
  }

  std::uint16_t first() const { return first_; }
  std::uint16_t next(std::uint16_t head) const { return slot(head).next; }
  // The oldest that the backend did not take yet, or kNone. All after it wait, too.
  std::uint16_t first_waiting() const { return first_waiting_; }
  unsigned submitted_count() const { return submitted_count_; }
  // When the backend took the oldest that it still holds; zero time when it holds none.
  Instant oldest() const { return submitted_count_ > 0 ? slot(first_).since : Instant{}; }

 private:
  struct Slot {
    BlkRequest request;
    Instant since{};
    bool used = false;
    bool submitted = false;
    std::uint16_t previous = kNone;
    std::uint16_t next = kNone;
  };
  Slot& slot(std::uint16_t head) {
    US_CHECK(head < kMaxQueueSize);
    return slots_[head];
  }
  const Slot& slot(std::uint16_t head) const {
    US_CHECK(head < kMaxQueueSize);
    return slots_[head];
  }

  const std::unique_ptr<Slot[]> slots_;  // by head
  std::uint16_t first_ = kNone;
  std::uint16_t last_ = kNone;
  std::uint16_t first_waiting_ = kNone;
  unsigned submitted_count_ = 0;
};

}  // namespace understudy
