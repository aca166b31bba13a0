#include "vmm/devices/balloon/balloon.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>

#include "net/base/log.h"
#include "vmm/devices/balloon/state.capnp.h"
#include "vmm/devices/saved_state.h"

namespace understudy {
namespace {

constexpr unsigned kBalloonQueues = 3;
// Pages given back in one turn (4 MiB), so that a guest that gives back gigabytes does not keep the loop from its other work, nor a pause.
constexpr std::size_t kTurnPages = 1024;
// Page numbers read at a time: what Linux puts into a chain.
constexpr std::size_t kNumbersAtOnce = 256;
static_assert(kPageShift == VIRTIO_BALLOON_PFN_SHIFT);

constexpr std::uint64_t kFeatures =
    (std::uint64_t{1} << VIRTIO_BALLOON_F_DEFLATE_ON_OOM) | (std::uint64_t{1} << VIRTIO_BALLOON_F_REPORTING);

std::vector<std::byte> config_space(std::uint32_t target_pages) {
  std::vector<std::byte> bytes(2 * sizeof target_pages);
  std::memcpy(bytes.data(), &target_pages, sizeof target_pages);
  return bytes;
}

Result<std::uint32_t> check_target(std::string_view id, std::uint64_t pages, std::uint64_t page_count) {
  if (pages >= page_count || pages > std::numeric_limits<std::uint32_t>::max())
    return Error{ErrorCode::kInvalid, "device " + std::string{id} + ": a target of " + std::to_string(pages) + " pages of a guest's " +
                                          std::to_string(page_count) + ": some must be left to it"};
  return static_cast<std::uint32_t>(pages);
}

}  // namespace

Result<std::unique_ptr<Balloon>> Balloon::create(VirtioSlot slot, std::uint64_t target_pages) {
  US_ASSIGN(const std::uint32_t checked, check_target(slot.id, target_pages, slot.memory->page_count()));
  US_ASSIGN(auto host, make_host(kBalloonQueues));
  return std::unique_ptr<Balloon>{new Balloon{std::move(slot), std::move(host), checked}};
}

Balloon::Balloon(VirtioSlot slot, Host host, std::uint32_t target_pages)
    : VirtioMmio{std::move(slot),
                 std::move(host),
                 {.device_type = VIRTIO_ID_BALLOON,
                  .features = kFeatures,
                  .config_space = config_space(target_pages),
                  .writable_words = {kActualOffset}}} {}

Result<void> Balloon::set_target(std::uint64_t pages) {
  US_ASSIGN(const std::uint32_t checked, check_target(id(), pages, memory().page_count()));
  change_config_and_tell(kTargetOffset, checked);
  return {};
}

void Balloon::work(unsigned index) {
  Virtqueue& ring = queue(index);
  ring.disable_notifications();
  std::size_t budget = kTurnPages;
  while (budget > 0) {
    const Pop popped = ring.pop(chain_);
    if (popped == Pop::kBroken) {
      fail(index == kInflateQueue ? "inflate queue" : index == kDeflateQueue ? "deflate queue" : "reporting queue", ring.error());
      break;
    }
    if (popped == Pop::kEmpty) {
      if (ring.enable_notifications()) continue;
      break;
    }
    bool done = true;
    --budget;  // for the chain itself
    // 5.5.6: what the driver takes out of the balloon it may use at once; the page comes back as zeros when it is touched.
    if (index == kInflateQueue) done = inflate(inflating_, budget);
    if (index == kReportingQueue) done = report(reporting_, budget);
    if (!done) {
      ring.unpop(1);
      break;
    }
    ring.push(chain_.head, 0);
  }
  publish(index);
  if (budget == 0) work_again(index);
}

// The readable part is an array of 32-bit page numbers, wherever it is cut.
bool Balloon::inflate(Progress& progress, std::size_t& budget) {
  if (progress.head != chain_.head) progress = {.head = chain_.head, .done = 0};
  const std::uint64_t total = chain_.readable_bytes / sizeof(std::uint32_t);
  while (progress.done < total) {
    if (budget == 0) return false;
    std::array<std::uint32_t, kNumbersAtOnce> numbers;
    const std::size_t count = std::min({numbers.size(), budget, static_cast<std::size_t>(total - progress.done)});
    auto* out = reinterpret_cast<std::byte*>(numbers.data());
    std::uint64_t skip = progress.done * sizeof(std::uint32_t);
    std::size_t left = count * sizeof(std::uint32_t);
    for (const Segment& segment : chain_.readable()) {
      const std::uint64_t skipped = std::min<std::uint64_t>(skip, segment.length);
      const std::size_t taken = std::min<std::size_t>(left, segment.length - skipped);
      skip -= skipped;
      if (taken == 0) continue;
      std::memcpy(out, memory().at(GuestPhysicalAddress{segment.address.raw() + skipped}, taken)->data(), taken);
      out += taken;
      left -= taken;
    }
    // Runs of neighbours go in one call each.
    const auto sorted = std::span{numbers}.first(count);
    std::ranges::sort(sorted);
    for (std::size_t first = 0, end = 0; first < count; first = end) {
      for (end = first + 1; end < count && sorted[end] - sorted[end - 1] <= 1;) ++end;
      discard(GuestPhysicalAddress{std::uint64_t{sorted[first]} << kPageShift}, (std::uint64_t{sorted[end - 1]} - sorted[first] + 1)
                                                                                    << kPageShift);
    }
    progress.done += count;
    budget -= count;
  }
  progress = {};
  return true;
}

// The buffers are the free memory itself (5.5.6.7); of each, the whole pages.
bool Balloon::report(Progress& progress, std::size_t& budget) {
  if (progress.head != chain_.head) progress = {.head = chain_.head, .done = 0};
  std::uint64_t offset = 0;  // of the segment in the chain
  for (const Segment& segment : chain_.writable()) {
    while (progress.done < offset + segment.length) {
      if (budget == 0) return false;
      const std::uint64_t begin = segment.address.raw() + (progress.done - offset);
      // A piece ends at a page's end, so that no page falls between two.
      const std::uint64_t piece_end = ((begin >> kPageShift) + budget) << kPageShift;
      const std::uint64_t end = std::min(segment.address.raw() + segment.length, piece_end);
      const std::uint64_t first = (begin + kPageSizeBytes - 1) >> kPageShift;
      const std::uint64_t last = end >> kPageShift;
      if (first < last) discard(GuestPhysicalAddress{first << kPageShift}, (last - first) << kPageShift);
      budget -= std::min<std::size_t>(budget, 1 + ((end - begin) >> kPageShift));
      progress.done += end - begin;
    }
    offset += segment.length;
  }
  progress = {};
  return true;
}

void Balloon::discard(GuestPhysicalAddress start, std::uint64_t bytes) {
  const std::uint64_t pages = bytes >> kPageShift;
  const auto discarded = memory().discard(start, bytes);
  if (discarded) {
    discarded_.fetch_add(pages, std::memory_order_relaxed);
  } else if (pages > 1 && discarded.error().code() == ErrorCode::kInvalid) {
    // Some of the run may be the guest's: page by page then.
    for (std::uint64_t i = 0; i < pages; ++i) discard(GuestPhysicalAddress{start.raw() + (i << kPageShift)}, kPageSizeBytes);
  } else if (refused_.fetch_add(pages, std::memory_order_relaxed) == 0) {
    log(Severity::kWarning, "memory not given back", {{"device", id()}, {"reason", discarded.error().text()}});
  }
}

void Balloon::on_resume() {
  // What is in the rings is looked at from its beginning.
  inflating_ = {};
  reporting_ = {};
}

void Balloon::on_reset() {
  inflating_ = {};
  reporting_ = {};
  put_config(kActualOffset, 0);  // a driver that starts anew holds nothing in its balloon
}

void Balloon::save(schema::DeviceState::Builder out) const {
  out.setId(std::string{id()});
  out.setVersion(kStateVersion);
  auto state = out.getState().initAs<schema::BalloonState>();
  save_transport(state.initTransport());
  state.setTargetPages(target_pages());
  state.setActualPages(actual_pages());
}

Result<Balloon::State> Balloon::parse(schema::DeviceState::Reader in) const {
  return parse_saved_state(in, id(), kStateVersion, [&]() -> Result<State> {
    const auto saved = in.getState().getAs<schema::BalloonState>();
    State state;
    US_ASSIGN(state.transport, parse_transport(saved.getTransport()));
    US_ASSIGN(state.target_pages, check_target(id(), saved.getTargetPages(), memory().page_count()));
    state.actual_pages = saved.getActualPages();
    return state;
  });
}

Result<void> Balloon::check(schema::DeviceState::Reader in) const {
  US_TRY(parse(in));
  return {};
}

Result<void> Balloon::restore(schema::DeviceState::Reader in) {
  US_ASSIGN(const State state, parse(in));
  restore_transport(state.transport);
  restore_config({{kTargetOffset, state.target_pages}, {kActualOffset, state.actual_pages}});
  return {};
}

}  // namespace understudy
