#include "tests/benchmarks/guest_load.h"

#include <cstddef>
#include <new>
#include <sched.h>
#include <thread>
#include <unistd.h>
#include <x86intrin.h>

#include <sys/mman.h>

#include "tests/benchmarks/load_page.h"

namespace understudy::bench {

namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr unsigned kWorkSteps = 46;  // about 70 ns
// The counter is published, and the order looked at, once in so many writes.
constexpr std::uint32_t kTurn = 64;
constexpr useconds_t kIdleLook = 20'000;

// Dependent steps, so that neither the compiler nor the processor shortens them.
std::uint64_t work(std::uint64_t value) {
  for (unsigned step = 0; step < kWorkSteps; ++step) {
    value = value * 6364136223846793005U + 1442695040888963407U;
    asm volatile("" : "+r"(value));
  }
  return value;
}

class Load {
 public:
  Load(LoadPage& page, volatile std::uint64_t* set) : page_{page}, set_{set} {}

  [[noreturn]] void run() {
    last_ = __rdtsc();
    while (true) {
      const std::uint32_t wanted = page_.wanted_pages.load(std::memory_order_relaxed);
      page_.working_pages.store(wanted, std::memory_order_relaxed);
      if (wanted == kIdle) {
        ::usleep(kIdleLook);
        last_ = __rdtsc();
      } else {
        turn(wanted <= kMaxLoadPages ? wanted : kMaxLoadPages);
      }
    }
  }

 private:
  void turn(std::uint32_t pages) {
    for (std::uint32_t i = 0; i < kTurn; ++i) {
      value_ = work(value_);
      if (pages > 0) {
        if (++next_ >= pages) next_ = 0;
        set_[next_ * (kPageBytes / sizeof *set_)] = value_;
      }
      look();
    }
    writes_ += kTurn;
    page_.writes.store(writes_, std::memory_order_relaxed);
  }

  void look() {
    const std::uint64_t now = __rdtsc();
    if (const std::uint64_t gap = now - last_; gap > kGapThresholdTicks) {
      auto& count = page_.gaps[gap_bucket(gap)];
      count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
    last_ = now;
  }

  LoadPage& page_;
  volatile std::uint64_t* const set_;
  std::uint64_t value_ = 1;
  std::uint64_t writes_ = 0;
  std::uint64_t last_ = 0;
  std::uint32_t next_ = 0;
};

std::byte* mapped(std::size_t bytes) {
  void* const base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  return base == MAP_FAILED ? nullptr : static_cast<std::byte*>(base);
}

}  // namespace

const char* start_load() {
  std::byte* const page_at = mapped(kPageBytes);
  std::byte* const set_at = mapped(kPageBytes * kMaxLoadPages);
  if (page_at == nullptr || set_at == nullptr) return "map the load's memory";
  // A kernel that joins pages or moves them would be a load of its own, and the host would lose the page.
  if (::mlock(page_at, kPageBytes) < 0) return "lock the load's page";
  ::madvise(set_at, kPageBytes * kMaxLoadPages, MADV_NOHUGEPAGE);
  auto* const page = new (page_at) LoadPage{};
  page->wanted_pages.store(kIdle);
  page->working_pages.store(kIdle);
  std::thread{[page, set_at] {
    const sched_param none{};
    ::sched_setscheduler(0, SCHED_IDLE, &none);
    Load{*page, reinterpret_cast<volatile std::uint64_t*>(set_at)}.run();
  }}.detach();
  volatile std::uint64_t magic = kLoadMagic;
  page->magic.store(magic);
  page->magic_again.store(~magic);
  return nullptr;
}

}  // namespace understudy::bench
