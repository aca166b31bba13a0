#include "tests/guest/torture.h"

#include "tests/guest/report.h"

extern "C" std::uint64_t guest_torture_passes(understudy::guest::TortureCpu* cpu, std::uint64_t n, std::uint64_t passes);

namespace understudy::guest {
namespace {

constexpr std::uint64_t kPassesPerStep = 128;
constexpr std::uint64_t kStepsPerCheck = 16;

std::uint64_t load(std::uint64_t address) { return *reinterpret_cast<const volatile std::uint64_t*>(address); }

}  // namespace

void Torture::start(const TortureLayout& layout, CpuBlock& cpu, std::uint32_t index) {
  layout_ = layout;
  index_ = index;
  cpu_ = {.hot = layout.hot(index),
          .shared = layout.base,
          .cold = layout.cold(index),
          .cell_offset = TortureLayout::cell_offset(index),
          .published = &published().cpus[cpu.index].torture_passes,
          .block = &cpu,
          .what = 0,
          .at = 0,
          .found = 0,
          .expected = 0};
}

void Torture::step() {
  passes_ = guest_torture_passes(&cpu_, passes_, kPassesPerStep);
  if (cpu_.what != 0) {
    constexpr std::string_view kWhat[] = {"", "hot page", "shared cell", "cold page", "XMM register", "FS base"};
    report(kWhat[cpu_.what]);
    violation("torture",
              {{" cpu=", index_}, {" pass=", passes_}, {" at=", cpu_.at}, {" found=", cpu_.found}, {" expected=", cpu_.expected}});
  }
  if (++steps_ % kStepsPerCheck != 0) return;
  check_cold();
  check_shared();
  auto& checks = published().cpus[cpu_.block->index].torture_checks;
  __atomic_store_n(&checks, checks + 1, __ATOMIC_RELAXED);
}

void Torture::check_cold() {
  const std::uint64_t done = cold_steps_after(passes_);
  for (std::uint64_t page = 0; page < TortureLayout::kColdPages; ++page) {
    const std::uint64_t expected = ring_value_after(done, page, TortureLayout::kColdPages);
    for (const std::uint64_t offset : TortureLayout::kWordOffsets) {
      const std::uint64_t found = load(layout_.cold(index_) + page * TortureLayout::kPageBytes + offset);
      if (found != expected)
        violation("torture, all cold pages",
                  {{" cpu=", index_}, {" pass=", passes_}, {" page=", page}, {" found=", found}, {" expected=", expected}});
    }
  }
}

// The others run on meanwhile, so bounds only: a total is added to before a cell.
void Torture::check_shared() {
  for (std::uint64_t page = 0; page < TortureLayout::kSharedPages; ++page) {
    const auto sum_of_cells = [&] {
      std::uint64_t sum = 0;
      for (std::uint64_t cpu = 0; cpu < layout_.cpu_count; ++cpu) sum += load(layout_.shared_cell(page, cpu));
      return sum;
    };
    const std::uint64_t cells_before = sum_of_cells();
    const std::uint64_t total = load(layout_.shared_total(page));
    const std::uint64_t cells_after = sum_of_cells();
    if (total < cells_before || total > cells_after + layout_.cpu_count)
      violation("torture, shared total", {{" page=", page}, {" total=", total}, {" cells=", cells_before}, {" then=", cells_after}});
  }
}

}  // namespace understudy::guest
