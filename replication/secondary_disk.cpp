#include "replication/secondary_disk.h"

#include <utility>

#include "net/base/check.h"

namespace understudy {

SecondaryDisk::SecondaryDisk(std::shared_ptr<DiskImage> image)
    : image_{std::move(image)}, backlog_{std::make_shared<std::atomic<std::size_t>>(0)}, owner_{image_->new_owner()} {}

void SecondaryDisk::apply(DiskWrite write) {
  US_CHECK(write.offset_bytes <= capacity_bytes() && write.length_bytes <= capacity_bytes() - write.offset_bytes);
  backlog_->fetch_add(write.length_bytes, std::memory_order_relaxed);
  const std::size_t length = write.length_bytes;
  image_->submit(DiskTask{.kind = write.zeros ? DiskTask::Kind::kZeros : DiskTask::Kind::kWrite,
                          .offset_bytes = write.offset_bytes,
                          .length_bytes = length,
                          .into = {},
                          .data = std::move(write.data),
                          .done = [backlog = backlog_, length] { backlog->fetch_sub(length, std::memory_order_release); },
                          .owner = owner_});
}

std::optional<Error> SecondaryDisk::failure() const {
  const DiskEvidence evidence = image_->evidence(Instant{});
  if (!evidence.failing) return std::nullopt;
  return Error{ErrorCode::kFailed, evidence.last_error};
}

}  // namespace understudy
