#include "tests/guest/dirtier.h"

namespace understudy::guest {

void Dirtier::start(const DirtierPlan& plan, std::uint64_t now_tsc) {
  plan_ = plan;
  last_tsc_ = now_tsc;
}

std::uint64_t Dirtier::step(std::uint64_t now_tsc) {
  const std::uint64_t tsc_per_second = plan_.tsc_khz * 1000;
  const std::uint64_t most = tsc_per_second / 20;
  std::uint64_t elapsed = now_tsc >= last_tsc_ ? now_tsc - last_tsc_ : 0;
  last_tsc_ = now_tsc;
  if (elapsed > most) {
    missed_ += (elapsed - most) / plan_.tsc_khz * plan_.pages_per_second / 1000;
    elapsed = most;
  }
  credit_ += elapsed * plan_.pages_per_second;
  for (; credit_ >= tsc_per_second; credit_ -= tsc_per_second) write_page();

  // In steps of a millisecond at least: a timer interrupt per page would cost more than the page.
  const std::uint64_t until_next_tsc = (tsc_per_second - credit_) / plan_.pages_per_second;
  const std::uint64_t until_next_ns = until_next_tsc * 1'000 / (plan_.tsc_khz / 1'000);
  return until_next_ns < 1'000'000 ? 1'000'000 : until_next_ns;
}

void Dirtier::write_page() {
  const std::uint64_t page = pages_ % plan_.working_set_pages;
  const std::uint64_t slack_words = (4096 - plan_.bytes_per_page) / 8 + 1;
  auto* words = reinterpret_cast<volatile std::uint64_t*>(plan_.base + page * 4096) + pages_ % slack_words;
  for (std::uint64_t i = 0; i < plan_.bytes_per_page / 8; ++i) {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    words[i] = random_;
  }
  ++pages_;
}

}  // namespace understudy::guest
