#include "tests/guest/torture_check.h"

#include <cstring>

#include "tests/guest/published.h"
#include "tests/guest/torture_layout.h"

namespace understudy::guest {
namespace {

class Checker {
 public:
  explicit Checker(std::span<const std::byte> memory) : memory_{memory} {}

  TortureVerdict run() {
    if (memory_.size() < kPublishedAddress + sizeof(Published)) return refused("guest memory ends before the published page");
    std::memcpy(&published_, memory_.data() + kPublishedAddress, sizeof published_);
    if (published_.magic != kPublishedMagic) return refused("the published page has no magic: the guest has not started");
    if (published_.state != static_cast<std::uint32_t>(GuestState::kRunning))
      return refused("the guest is in state " + std::to_string(published_.state) + ", not running");
    layout_ = {published_.torture_base, published_.torture_cpu_count};
    if (layout_.base == 0 || layout_.cpu_count == 0 || published_.torture_first_cpu > kMaxCpus ||
        layout_.cpu_count > kMaxCpus - published_.torture_first_cpu)
      return refused("the guest does not torture");
    const std::uint64_t bytes = TortureLayout::pages_for(layout_.cpu_count) * TortureLayout::kPageBytes;
    if (layout_.base > memory_.size() || bytes > memory_.size() - layout_.base) return refused("the torture lies outside of memory");

    std::uint64_t may_be_between = 0;  // vCPUs that can stand between the two locked additions
    for (std::uint64_t cpu = 0; cpu < layout_.cpu_count && verdict_.whole(); ++cpu) may_be_between += check_cpu(cpu) ? 1U : 0U;
    if (verdict_.whole()) check_totals(may_be_between);
    return std::move(verdict_);
  }

 private:
  // How far along its ring a vCPU's chain is: `steps` done, and whether the next one has begun.
  struct Position {
    std::uint64_t steps = 0;
    bool begun = false;
  };

  TortureVerdict refused(const char* reason) { return refused(std::string{reason}); }
  TortureVerdict refused(std::string reason) {
    verdict_.contradiction = std::move(reason);
    return std::move(verdict_);
  }
  void contradict(std::string what) {
    if (verdict_.whole()) verdict_.contradiction = std::move(what);
  }
  std::uint64_t word(std::uint64_t address) const {
    std::uint64_t value = 0;
    std::memcpy(&value, memory_.data() + address, sizeof value);
    return value;
  }
  std::string where(std::uint64_t cpu, const char* chain, std::uint64_t page, std::uint64_t value) const {
    return "torture cpu " + std::to_string(cpu) + ": " + chain + " page " + std::to_string(page) + " holds " + std::to_string(value);
  }

  // The hot pages hold one value, or a run of n + 1 followed by a run of n.
  Position hot_position(std::uint64_t cpu) {
    const std::uint64_t first = word(layout_.hot(cpu) + TortureLayout::kWordOffsets[0]);
    std::uint64_t expected = first;
    for (std::uint64_t page = 0; page < TortureLayout::kHotPages; ++page) {
      for (const std::uint64_t offset : TortureLayout::kWordOffsets) {
        const std::uint64_t value = word(layout_.hot(cpu) + page * TortureLayout::kPageBytes + offset);
        if (value + 1 == expected && expected == first) expected = value;
        if (value != expected) contradict(where(cpu, "hot", page, value) + " where " + std::to_string(expected) + " stands before it");
      }
    }
    return expected == first ? Position{first, false} : Position{expected, true};
  }

  std::uint64_t shared_steps(std::uint64_t cpu) {
    std::uint64_t sum = 0;
    for (std::uint64_t page = 0; page < TortureLayout::kSharedPages; ++page) sum += word(layout_.shared_cell(page, cpu));
    for (std::uint64_t page = 0; page < TortureLayout::kSharedPages; ++page) {
      const std::uint64_t value = word(layout_.shared_cell(page, cpu));
      const std::uint64_t expected = ring_value_after(sum, page, TortureLayout::kSharedPages);
      if (value != expected) contradict(where(cpu, "the cell of shared", page, value) + ", not " + std::to_string(expected));
    }
    return sum;
  }

  Position cold_position(std::uint64_t cpu, std::uint64_t steps) {
    const std::uint64_t next = steps % TortureLayout::kColdPages;
    Position position{steps, false};
    for (std::uint64_t page = 0; page < TortureLayout::kColdPages; ++page) {
      const std::uint64_t expected = ring_value_after(steps, page, TortureLayout::kColdPages);
      std::size_t advanced = 0;
      for (std::size_t i = 0; i < TortureLayout::kWordsPerPage; ++i) {
        const std::uint64_t value = word(layout_.cold(cpu) + page * TortureLayout::kPageBytes + TortureLayout::kWordOffsets[i]);
        if (page == next && advanced == i && value == expected + 1)
          ++advanced;
        else if (value != expected)
          contradict(where(cpu, "cold", page, value) + ", not " + std::to_string(expected));
      }
      if (advanced == TortureLayout::kWordsPerPage) return {steps + 1, false};
      if (advanced > 0) position.begun = true;
    }
    return position;
  }

  // Returns whether the vCPU may stand between the two locked additions.
  bool check_cpu(std::uint64_t cpu) {
    const Position hot = hot_position(cpu);
    verdict_.passes.push_back(hot.steps);
    if (!verdict_.whole()) return false;
    const std::uint64_t n = hot.steps;
    const std::uint64_t shared = shared_steps(cpu);
    // The last pass may have ended its hot part only: then shared, cold and published may still lack that pass's step.
    const bool in_tail = !hot.begun && n > 0;
    if (shared != n && !(in_tail && shared == n - 1))
      contradict("torture cpu " + std::to_string(cpu) + ": hot pages say pass " + std::to_string(n) + ", shared cells say " +
                 std::to_string(shared));
    const std::uint64_t cold_before = cold_steps_after(in_tail ? n - 1 : n);
    const Position cold = cold_position(cpu, cold_before);
    const bool cold_may_move = in_tail && shared == n && cold_steps_after(n) != cold_before;
    if (!cold_may_move && (cold.steps != cold_before || cold.begun))
      contradict("torture cpu " + std::to_string(cpu) + ": its cold pages are ahead of pass " + std::to_string(n));
    const std::uint64_t published = published_.cpus[published_.torture_first_cpu + cpu].torture_passes;
    const bool tail_done = shared == n && (!cold_may_move || cold.steps == cold_steps_after(n));
    if (published != n && !(in_tail && published == n - 1))
      contradict("torture cpu " + std::to_string(cpu) + ": published " + std::to_string(published) + " passes, its pages say " +
                 std::to_string(n));
    if (published == n && !tail_done)
      contradict("torture cpu " + std::to_string(cpu) + ": pass " + std::to_string(n) + " is published and not done");
    return in_tail && shared == n - 1;
  }

  void check_totals(std::uint64_t may_be_between) {
    std::uint64_t ahead = 0;
    for (std::uint64_t page = 0; page < TortureLayout::kSharedPages; ++page) {
      std::uint64_t cells = 0;
      for (std::uint64_t cpu = 0; cpu < layout_.cpu_count; ++cpu) cells += word(layout_.shared_cell(page, cpu));
      const std::uint64_t total = word(layout_.shared_total(page));
      if (total < cells)
        contradict("shared page " + std::to_string(page) + ": its total " + std::to_string(total) + " is less than its cells' " +
                   std::to_string(cells));
      ahead += total - cells;
    }
    if (verdict_.whole() && ahead > may_be_between)
      contradict("shared totals are " + std::to_string(ahead) + " ahead of the cells, " + std::to_string(may_be_between) +
                 " vCPUs can account for that");
  }

  const std::span<const std::byte> memory_;
  Published published_{};
  TortureLayout layout_;
  TortureVerdict verdict_;
};

}  // namespace

TortureVerdict check_torture(std::span<const std::byte> low_memory) { return Checker{low_memory}.run(); }

}  // namespace understudy::guest
