// Memory for the bytes of guests' writes: aligned for direct I/O, used again and again.
//
// A write's bytes are kept until the image has them and the peer has acked them, so how much is out is the business of those who bound
// that; the pool only keeps what comes back, up to a limit. Any thread.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

#include "net/base/check.h"

namespace understudy {

class WriteBuffers : public std::enable_shared_from_this<WriteBuffers> {
 public:
  static constexpr std::size_t kAlignment = 4096;

  static std::shared_ptr<WriteBuffers> create(std::size_t max_kept_bytes) {
    return std::shared_ptr<WriteBuffers>{new WriteBuffers{max_kept_bytes}};
  }
  ~WriteBuffers() {
    for (const auto& waiting : kept_)
      for (std::byte* const bytes : waiting) std::free(bytes);
  }
  WriteBuffers(const WriteBuffers&) = delete;
  WriteBuffers& operator=(const WriteBuffers&) = delete;

  // At least `bytes`, of any content. It comes back here by itself when the last owner lets go of it, and may outlive the caller.
  std::shared_ptr<std::byte> take(std::size_t bytes) {
    const std::size_t rounded = std::bit_ceil(std::max(bytes, kAlignment));
    const auto kind = static_cast<std::size_t>(std::countr_zero(rounded));
    std::byte* got = nullptr;
    {
      const std::lock_guard lock{mutex_};
      auto& waiting = kept_[kind];
      if (!waiting.empty()) {
        got = waiting.back();
        waiting.pop_back();
        kept_bytes_ -= rounded;
      }
    }
    if (got == nullptr) got = static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded));
    US_CHECK(got != nullptr);
    return {got, [pool = shared_from_this(), kind](std::byte* back) { pool->give_back(back, kind); }};
  }

  std::size_t kept_bytes() const {
    const std::lock_guard lock{mutex_};
    return kept_bytes_;
  }

 private:
  explicit WriteBuffers(std::size_t max_kept_bytes) : max_kept_bytes_{max_kept_bytes} {}

  void give_back(std::byte* bytes, std::size_t kind) {
    const std::size_t size = std::size_t{1} << kind;
    {
      const std::lock_guard lock{mutex_};
      if (kept_bytes_ + size <= max_kept_bytes_) {
        kept_[kind].push_back(bytes);
        kept_bytes_ += size;
        return;
      }
    }
    std::free(bytes);
  }

  const std::size_t max_kept_bytes_;
  mutable std::mutex mutex_;
  std::array<std::vector<std::byte*>, 64> kept_;  // by the size's power of two; guarded by mutex_
  std::size_t kept_bytes_ = 0;                    // guarded by mutex_
};

}  // namespace understudy
