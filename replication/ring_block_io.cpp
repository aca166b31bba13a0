#include "replication/ring_block_io.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <liburing.h>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include <sys/eventfd.h>

#include "net/base/check.h"
#include "net/base/log.h"

namespace understudy {
namespace {

constexpr unsigned kDepth = 64;
constexpr std::uint64_t kWakeUp = ~std::uint64_t{0};
// O_DIRECT: alignment of memory, offset and length (open(2)); a sector is the guest's unit, so offsets and lengths always have it.
constexpr std::size_t kAlignment = 512;
// What goes through a bounce buffer, or is written as zeros, at a time.
constexpr std::size_t kBounceBytes = std::size_t{256} << 10;
// A request that the kernel wants tried again at once (EAGAIN, EINTR) counts as failed after so many times.
constexpr unsigned kMaxRepeats = 1000;

struct AlignedFree {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};
using AlignedBytes = std::unique_ptr<std::byte[], AlignedFree>;
AlignedBytes aligned_bytes(std::size_t bytes) {
  AlignedBytes made{static_cast<std::byte*>(std::aligned_alloc(4096, bytes))};
  US_CHECK(made != nullptr);
  return made;
}
bool aligned(const void* address) { return reinterpret_cast<std::uintptr_t>(address) % kAlignment == 0; }

const char* name_of(FileRequest::Kind kind) {
  switch (kind) {
    case FileRequest::Kind::kRead:
      return "read";
    case FileRequest::Kind::kWrite:
      return "write";
    case FileRequest::Kind::kZeros:
      return "zeroing";
    case FileRequest::Kind::kFlush:
      return "fdatasync";
    case FileRequest::Kind::kNextData:
      return "look for data";
  }
  return "request";
}

class RingBlockIo final : public BlockIo {
 public:
  RingBlockIo(const io_uring& ring, UniqueFd wake_fd, ImageFile image, bool direct)
      : image_{std::move(image)}, direct_{direct}, wake_fd_{std::move(wake_fd)}, ring_{ring}, slots_(kDepth) {
    for (Slot& slot : slots_) slot.rest.reserve(kReservedPieces);
    wait_for_wake_up();
  }
  // Nothing may be with the kernel: it would go on with memory that is gone.
  ~RingBlockIo() override { ::io_uring_queue_exit(&ring_); }
  RingBlockIo(const RingBlockIo&) = delete;
  RingBlockIo& operator=(const RingBlockIo&) = delete;

  std::uint64_t size_bytes() const override { return image_.size_bytes; }
  bool read_only() const override { return image_.read_only; }
  unsigned depth() const override { return kDepth; }

  void start(unsigned index, const FileRequest& request) override {
    Slot& slot = slots_.at(index);
    US_CHECK(!slot.busy);
    slot.busy = true;
    slot.request = request;
    slot.done_bytes = 0;
    slot.mode = 0;
    slot.repeats = 0;
    slot.syncing = false;
    slot.bounces = false;
    switch (request.kind) {
      case FileRequest::Kind::kRead:
        slot.rest.assign(request.into.begin(), request.into.end());
        slot.bounces = direct_ && !std::ranges::all_of(slot.rest, [](const iovec& piece) {
                         return aligned(piece.iov_base) && piece.iov_len % kAlignment == 0;
                       });
        break;
      case FileRequest::Kind::kWrite:
        slot.bounces = direct_ && !aligned(request.from.data());
        break;
      case FileRequest::Kind::kNextData: {
        // No operation of the ring's; the worker waits for it.
        const auto found = next_data_of(image_.fd.get(), request.offset_bytes, image_.size_bytes);
        slot.busy = false;
        immediate_.push_back(
            {.slot = index, .error = found ? std::nullopt : std::optional<Error>{found.error()}, .next_data = found ? *found : 0});
        return;
      }
      default:
        break;
    }
    step(index);
  }

  bool wait(std::optional<Duration> timeout, std::vector<FileCompletion>& completed) override {
    io_uring_cqe* first = nullptr;
    if (!immediate_.empty()) {
      std::ranges::move(immediate_, std::back_inserter(completed));
      immediate_.clear();
      ::io_uring_submit(&ring_);
    } else if (timeout) {
      __kernel_timespec most{.tv_sec = timeout->count() / 1'000'000'000, .tv_nsec = timeout->count() % 1'000'000'000};
      ::io_uring_submit_and_wait_timeout(&ring_, &first, 1, &most, nullptr);
    } else {
      ::io_uring_submit_and_wait(&ring_, 1);
    }
    // An error above (EINTR, ETIME) leaves what is queued in the queue, and the caller comes again.
    bool progress = !completed.empty();
    while (::io_uring_peek_cqe(&ring_, &first) == 0) {
      const std::uint64_t which = ::io_uring_cqe_get_data64(first);
      const int result = first->res;
      ::io_uring_cqe_seen(&ring_, first);
      if (which == kWakeUp) {
        wait_for_wake_up();
        continue;
      }
      progress |= result >= 0;
      advance(static_cast<unsigned>(which), result, completed);
    }
    return progress;
  }

  void wake() override { ::eventfd_write(wake_fd_.get(), 1); }

 private:
  static constexpr std::size_t kReservedPieces = 128;

  struct Slot {
    bool busy = false;
    FileRequest request;
    std::uint64_t done_bytes = 0;
    std::vector<iovec> rest;  // of a read: what is not filled yet
    bool bounces = false;
    AlignedBytes bounce;  // allocated at the first need, then kept
    std::uint64_t step_bytes = 0;
    std::size_t mode = 0;  // of zero_modes(); beyond them zeros are written out
    bool syncing = false;
    unsigned repeats = 0;
  };

  io_uring_sqe* entry(std::uint64_t data) {
    // There are twice as many entries as slots, and a slot has one under way.
    io_uring_sqe* const made = ::io_uring_get_sqe(&ring_);
    US_CHECK(made != nullptr);
    ::io_uring_sqe_set_data64(made, data);
    return made;
  }

  void wait_for_wake_up() {
    io_uring_sqe* const made = entry(kWakeUp);
    ::io_uring_prep_read(made, wake_fd_.get(), &wake_count_, sizeof wake_count_, 0);
    ::io_uring_sqe_set_data64(made, kWakeUp);
  }

  // Queues what comes next of a request.
  void step(unsigned index) {
    Slot& slot = slots_[index];
    const FileRequest& request = slot.request;
    const int fd = image_.fd.get();
    io_uring_sqe* const made = entry(index);
    const std::uint64_t at = request.offset_bytes + slot.done_bytes;
    const std::uint64_t left = request.length_bytes - slot.done_bytes;
    slot.step_bytes = left;
    if (slot.bounces) slot.step_bytes = std::min<std::uint64_t>(left, kBounceBytes);
    if (slot.bounces && !slot.bounce) slot.bounce = aligned_bytes(kBounceBytes);
    if (slot.syncing || request.kind == FileRequest::Kind::kFlush) {
      ::io_uring_prep_fsync(made, fd, IORING_FSYNC_DATASYNC);
    } else if (request.kind == FileRequest::Kind::kRead) {
      if (slot.bounces)
        ::io_uring_prep_read(made, fd, slot.bounce.get(), static_cast<unsigned>(slot.step_bytes), at);
      else
        ::io_uring_prep_readv(made, fd, slot.rest.data(), static_cast<unsigned>(slot.rest.size()), at);
    } else if (request.kind == FileRequest::Kind::kWrite) {
      const std::byte* from = request.from.data() + slot.done_bytes;
      if (slot.bounces) from = static_cast<std::byte*>(std::memcpy(slot.bounce.get(), from, slot.step_bytes));
      slot.step_bytes = std::min<std::uint64_t>(slot.step_bytes, kMaxStepBytes);
      ::io_uring_prep_write(made, fd, from, static_cast<unsigned>(slot.step_bytes), at);
    } else if (const auto modes = zero_modes(request.keep_space); slot.mode < modes.size()) {
      ::io_uring_prep_fallocate(made, fd, modes[slot.mode], static_cast<off_t>(at), static_cast<off_t>(left));
    } else {
      slot.step_bytes = std::min<std::uint64_t>(left, kBounceBytes);
      if (!zeros_) {
        zeros_ = aligned_bytes(kBounceBytes);
        std::memset(zeros_.get(), 0, kBounceBytes);
      }
      ::io_uring_prep_write(made, fd, zeros_.get(), static_cast<unsigned>(slot.step_bytes), at);
    }
    ::io_uring_sqe_set_data64(made, index);
  }

  // What the kernel answered to the latest step.
  void advance(unsigned index, int result, std::vector<FileCompletion>& completed) {
    Slot& slot = slots_[index];
    const FileRequest& request = slot.request;
    const bool transfers = request.kind == FileRequest::Kind::kRead || request.kind == FileRequest::Kind::kWrite;
    const bool zeroes = request.kind == FileRequest::Kind::kZeros && !slot.syncing;
    const bool in_place = zeroes && slot.mode < zero_modes(request.keep_space).size();
    if ((result == -EAGAIN || result == -EINTR) && ++slot.repeats < kMaxRepeats) return step(index);
    if (in_place && result < 0 && is_unsupported(-result)) {
      ++slot.mode;
      return step(index);
    }
    if (result < 0) return finish(index, Error::from_errno(name(slot), -result), completed);
    if (in_place) {
      slot.done_bytes = request.length_bytes;
    } else if ((transfers || zeroes) && !slot.syncing) {
      if (result == 0) return finish(index, Error{ErrorCode::kFailed, name(slot) + ": the file ends before, it was cut short"}, completed);
      const auto bytes = static_cast<std::uint64_t>(result);
      if (request.kind == FileRequest::Kind::kRead) consume(slot, bytes);
      slot.done_bytes += bytes;
      // The host may give or take less at a time; past the page cache only whole sectors.
      if (slot.done_bytes < request.length_bytes && direct_ && slot.done_bytes % kAlignment != 0)
        return finish(index, Error{ErrorCode::kFailed, name(slot) + ": part of a sector"}, completed);
      if (slot.done_bytes < request.length_bytes) {
        slot.repeats = 0;
        return step(index);
      }
    }
    if (request.stable && !slot.syncing) {
      slot.syncing = true;
      return step(index);
    }
    finish(index, std::nullopt, completed);
  }

  // `bytes` of a read arrived: in place, or in the bounce buffer.
  static void consume(Slot& slot, std::uint64_t bytes) {
    const std::byte* from = slot.bounces ? slot.bounce.get() : nullptr;
    std::size_t filled = 0;
    for (iovec& piece : slot.rest) {
      const std::size_t taken = std::min<std::uint64_t>(bytes, piece.iov_len);
      if (from != nullptr) {
        std::memcpy(piece.iov_base, from, taken);
        from += taken;
      }
      piece.iov_base = static_cast<std::byte*>(piece.iov_base) + taken;
      piece.iov_len -= taken;
      bytes -= taken;
      if (piece.iov_len != 0) break;
      ++filled;
    }
    slot.rest.erase(slot.rest.begin(), slot.rest.begin() + static_cast<std::ptrdiff_t>(filled));
  }

  void finish(unsigned index, std::optional<Error> error, std::vector<FileCompletion>& completed) {
    slots_[index].busy = false;
    completed.push_back({.slot = index, .error = std::move(error), .next_data = 0});
  }

  static std::string name(const Slot& slot) {
    if (slot.syncing || slot.request.kind == FileRequest::Kind::kFlush) return "fdatasync";
    return std::string{name_of(slot.request.kind)} + " of " + std::to_string(slot.request.length_bytes - slot.done_bytes) + " bytes at " +
           std::to_string(slot.request.offset_bytes + slot.done_bytes);
  }

  // A count that the kernel's length and result can hold.
  static constexpr std::uint64_t kMaxStepBytes = std::uint64_t{1} << 30;

  const ImageFile image_;
  const bool direct_;
  const UniqueFd wake_fd_;
  io_uring ring_;
  std::vector<Slot> slots_;
  AlignedBytes zeros_;            // kBounceBytes; made at the first need
  std::uint64_t wake_count_ = 0;  // the kernel's, while a wake-up is waited for
  std::vector<FileCompletion> immediate_;
};

// Whether the file takes O_DIRECT at the guest's own unit. Leaves the flag set if so.
bool set_direct(const ImageFile& image) {
  const int flags = ::fcntl(image.fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(image.fd.get(), F_SETFL, flags | O_DIRECT) != 0) return false;
  const AlignedBytes sector = aligned_bytes(4096);
  // At an address, offset and length that are multiples of a sector and of nothing more.
  const bool works = ::pread(image.fd.get(), sector.get() + kAlignment, kAlignment, image.size_bytes > kAlignment ? kAlignment : 0) ==
                     static_cast<ssize_t>(kAlignment);
  if (!works) ::fcntl(image.fd.get(), F_SETFL, flags);
  return works;
}

bool has_operations(io_uring& ring) {
  io_uring_probe* const probe = ::io_uring_get_probe_ring(&ring);
  if (probe == nullptr) return false;
  constexpr int kNeeded[] = {IORING_OP_READ, IORING_OP_READV, IORING_OP_WRITE, IORING_OP_FSYNC, IORING_OP_FALLOCATE};
  const bool all = std::ranges::all_of(kNeeded, [&](int operation) { return ::io_uring_opcode_supported(probe, operation) != 0; });
  ::io_uring_free_probe(probe);
  return all;
}

}  // namespace

Result<std::unique_ptr<BlockIo>> make_ring_io(ImageFile& image, bool try_direct) {
  UniqueFd wake_fd{::eventfd(0, EFD_CLOEXEC)};  // read by the ring, which waits where a non-blocking one would fail
  if (!wake_fd) return Error::from_errno("make a disk's eventfd");
  io_uring ring{};
  // Our thread enters the kernel for every completion anyway: no interrupt is needed to tell it. (From 5.19 on.)
  int made = ::io_uring_queue_init(2 * kDepth, &ring, IORING_SETUP_COOP_TASKRUN);
  if (made == -EINVAL) made = ::io_uring_queue_init(2 * kDepth, &ring, 0);
  if (made < 0) return Error::from_errno("set up io_uring", -made);
  if (!has_operations(ring)) {
    ::io_uring_queue_exit(&ring);
    return Error{ErrorCode::kUnavailable, "set up io_uring: this kernel's has not all operations that a disk needs"};
  }
  const bool direct = try_direct && set_direct(image);
  return std::unique_ptr<BlockIo>{std::make_unique<RingBlockIo>(ring, std::move(wake_fd), std::move(image), direct)};
}

Result<std::unique_ptr<BlockIo>> open_block_io(const std::filesystem::path& path, bool read_only) {
  US_ASSIGN(ImageFile image, open_image_file(path, read_only));
  const int fd = image.fd.get();
  auto ring = make_ring_io(image, true);
  if (!ring) {
    log(Severity::kWarning, "disk without io_uring: its requests go one by one",
        {{"image", path.string()}, {"reason", ring.error().text()}});
    return make_serial_io(make_block_file(std::move(image)));
  }
  const bool direct = (::fcntl(fd, F_GETFL) & O_DIRECT) != 0;
  log(Severity::kInfo, "disk opened", {{"image", path.string()}, {"io", direct ? "io_uring, direct" : "io_uring, through the page cache"}});
  return ring;
}

}  // namespace understudy
