#include "checkpoint/dirty_harvest.h"

namespace understudy {

DirtyHarvest& DirtyHarvest::operator=(DirtyHarvest&& other) noexcept {
  if (this != &other) {
    abandon();
    source_ = std::exchange(other.source_, nullptr);
    pages_ = std::move(other.pages_);
  }
  return *this;
}

void DirtyHarvest::abandon() {
  if (source_ != nullptr) std::exchange(source_, nullptr)->merge_back(pages_);
}

}  // namespace understudy
