#include "replication/secondary_disk.h"

#include <utility>

#include "net/base/check.h"

namespace understudy {

SecondaryDisk::SecondaryDisk(std::shared_ptr<DiskImage> image)
    : image_{std::move(image)}, backlog_{std::make_shared<Backlog>()}, syncs_{std::make_shared<Syncs>()}, owner_{image_->new_owner()} {}

void SecondaryDisk::apply(DiskWrite write) {
  US_CHECK(write.offset_bytes <= capacity_bytes() && write.length_bytes <= capacity_bytes() - write.offset_bytes);
  const std::size_t kept = kept_bytes(write);
  backlog_->bytes.fetch_add(kept, std::memory_order_relaxed);
  image_->submit(DiskTask{.kind = write.zeros ? DiskTask::Kind::kZeros : DiskTask::Kind::kWrite,
                          .offset_bytes = write.offset_bytes,
                          .length_bytes = write.length_bytes,
                          .data = std::move(write.data),
                          .client = backlog_,
                          .cookie = kept,
                          .owner = owner_});
}

std::uint64_t SecondaryDisk::sync() {
  image_->submit(DiskTask{.kind = DiskTask::Kind::kFlush, .client = syncs_, .cookie = ++last_sync_, .owner = owner_});
  return last_sync_;
}

std::optional<Error> SecondaryDisk::failure() const {
  const DiskEvidence evidence = image_->evidence(Instant{});
  if (!evidence.failing) return std::nullopt;
  return Error{ErrorCode::kFailed, evidence.last_error};
}

}  // namespace understudy
