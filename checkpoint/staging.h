// Where an epoch's pages are copied during the pause: buffers allocated and touched once, lent out, and back when the transport is done.
//
// Their number bounds the memory that a slow or dead peer can hold. A lease travels as the owner of the frames cut from its buffer, so the
// buffer returns to the pool when the last of these is released, on whatever thread that happens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "net/base/ids.h"
#include "net/base/result.h"

namespace understudy {

// Bytes and what keeps them alive.
struct OwnedBytes {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

// Holding one is the right to write its bytes; empty (nullptr owner) when the pool had none.
class StagingLease {
 public:
  StagingLease() = default;
  explicit operator bool() const { return owner_ != nullptr; }
  std::span<std::byte> bytes() const { return bytes_; }
  std::size_t capacity_pages() const { return bytes_.size() / kPageSizeBytes; }
  const std::shared_ptr<const void>& owner() const { return owner_; }

 private:
  friend class StagingPool;
  StagingLease(std::span<std::byte> bytes, std::shared_ptr<const void> owner) : bytes_{bytes}, owner_{std::move(owner)} {}
  std::span<std::byte> bytes_;
  std::shared_ptr<const void> owner_;
};

// Any thread may release a lease; everything else is for one thread at a time. Leases may outlive the pool.
class StagingPool {
 public:
  // `buffers` of `pages_each` pages, 1 or more each; mapped and touched now, so that no page fault falls into a pause. kUnavailable: no
  // memory.
  static Result<std::unique_ptr<StagingPool>> create(std::size_t buffers, std::size_t pages_each);
  ~StagingPool();

  // An empty lease when all buffers are lent out.
  StagingLease try_acquire();
  std::size_t free_buffers() const;
  std::size_t buffers() const;
  std::size_t pages_each() const;

 private:
  struct Core;
  explicit StagingPool(std::shared_ptr<Core> core);
  std::shared_ptr<Core> core_;
};

// Pages as they were during one pause (or, in the first transfer, at some time since the last harvest): page i at i * 4 KiB of the buffer.
struct StagedPages {
  // Of zero pages, so that what is staged at once stays bounded: 256 MiB of guest memory.
  static constexpr std::size_t kMaxZeroPages = std::size_t{1} << 16;

  StagingLease buffer;
  std::vector<std::uint32_t> pages;         // ascending
  std::vector<std::uint32_t> zero_pages{};  // known to be zeros without a copy: ascending, none of `pages`
};

}  // namespace understudy
