// A bounded queue of frames in one preallocated block, each with its offload and the epoch that it belongs to.
//
// Not synchronised; the egress gate guards it. A frame lies in one piece: where the block's end leaves too little room, it is skipped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "net/base/clock.h"
#include "net/base/frame_offload.h"
#include "net/base/ids.h"

namespace understudy {

class FrameRing {
 public:
  // Touches all its memory, so that no frame waits for a page.
  FrameRing(std::size_t capacity_bytes, std::size_t capacity_frames);

  // Copies a frame, given in pieces, to the back. False: no room.
  bool push(const FrameOffload& offload, std::span<const std::span<const std::byte>> pieces, Epoch epoch, Instant at);
  bool fits(std::size_t bytes) const { return count_ < entries_.size() && place_for(bytes) != kNoPlace; }

  bool empty() const { return count_ == 0; }
  std::size_t frames() const { return count_; }
  std::size_t bytes() const { return bytes_; }

  // The oldest frame; valid until it is popped.
  std::span<const std::byte> front() const { return {block_.get() + entries_[first_].offset, entries_[first_].length}; }
  const FrameOffload& front_offload() const { return entries_[first_].offload; }
  Epoch front_epoch() const { return entries_[first_].epoch; }
  Instant front_at() const { return entries_[first_].at; }
  void pop_front();
  // Drops all but the `keep` oldest (0 or 1); returns how many.
  std::size_t drop_all_but(std::size_t keep);

 private:
  static constexpr std::size_t kNoPlace = ~std::size_t{0};
  struct Entry {
    std::size_t offset = 0;
    std::size_t length = 0;
    Epoch epoch;
    Instant at;
    FrameOffload offload;
  };
  std::size_t place_for(std::size_t bytes) const;

  struct Freed {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  std::size_t capacity_bytes_;
  std::unique_ptr<std::byte[], Freed> block_;
  std::vector<Entry> entries_;
  std::size_t first_ = 0;  // index of the oldest entry
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace understudy
