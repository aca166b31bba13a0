// The judge of the torture against a model that stops after any single store, and against images mixed from two instants.
#include "tests/guest/torture_check.h"

#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "tests/guest/published.h"
#include "tests/guest/torture_layout.h"

namespace understudy::guest {
namespace {

constexpr std::uint64_t kBase = 0x400000;
constexpr std::uint32_t kCpus = 2;
constexpr std::uint32_t kFirstCpu = 1;

// The guest's stores, one a step, as torture_pass.S makes them.
class Model {
 public:
  Model() : memory_(kBase + TortureLayout::pages_for(kCpus) * TortureLayout::kPageBytes) {
    Published page{};
    page.magic = kPublishedMagic;
    page.state = static_cast<std::uint32_t>(GuestState::kRunning);
    page.torture_base = kBase;
    page.torture_first_cpu = kFirstCpu;
    page.torture_cpu_count = kCpus;
    std::memcpy(&memory_[kPublishedAddress], &page, sizeof page);
  }

  void step(std::uint64_t cpu) {
    Cpu& at = cpus_[cpu];
    const std::uint64_t n = at.passes;
    if (at.store < kHotStores) {
      set(layout_.hot(cpu) + word_address(at.store), n + 1);
    } else if (at.store == kHotStores) {
      add(layout_.shared_total(n % TortureLayout::kSharedPages));
    } else if (at.store == kHotStores + 1) {
      add(layout_.shared_cell(n % TortureLayout::kSharedPages, cpu));
      if (n % TortureLayout::kColdPeriod != 0) at.store += TortureLayout::kWordsPerPage;
    } else if (at.store < kHotStores + 2 + TortureLayout::kWordsPerPage) {
      const std::uint64_t m = n / TortureLayout::kColdPeriod;
      const std::uint64_t word = at.store - kHotStores - 2;
      set(layout_.cold(cpu) + (m % TortureLayout::kColdPages) * TortureLayout::kPageBytes + TortureLayout::kWordOffsets[word],
          m / TortureLayout::kColdPages + 1);
    } else {
      at.passes = n + 1;
      set(kPublishedAddress + offsetof(Published, cpus) + (kFirstCpu + cpu) * sizeof(PublishedCpu) + offsetof(PublishedCpu, torture_passes),
          n + 1);
      at.store = 0;
      return;
    }
    ++at.store;
  }
  void run(std::mt19937_64& random, std::size_t stores) {
    for (std::size_t i = 0; i < stores; ++i) step(random() % kCpus);
  }
  std::vector<std::byte>& memory() { return memory_; }
  const TortureLayout& layout() const { return layout_; }

 private:
  static constexpr std::uint64_t kHotStores = TortureLayout::kHotPages * TortureLayout::kWordsPerPage;
  struct Cpu {
    std::uint64_t passes = 0;
    std::uint64_t store = 0;
  };
  static std::uint64_t word_address(std::uint64_t store) {
    return store / TortureLayout::kWordsPerPage * TortureLayout::kPageBytes +
           TortureLayout::kWordOffsets[store % TortureLayout::kWordsPerPage];
  }
  void set(std::uint64_t address, std::uint64_t value) { std::memcpy(&memory_[address], &value, sizeof value); }
  void add(std::uint64_t address) {
    std::uint64_t value = 0;
    std::memcpy(&value, &memory_[address], sizeof value);
    set(address, value + 1);
  }

  TortureLayout layout_{kBase, kCpus};
  std::vector<std::byte> memory_;
  Cpu cpus_[kCpus];
};

TEST(TortureCheck, EveryStoreLeavesWholeMemory) {
  Model model;
  std::mt19937_64 random{1};
  for (int i = 0; i < 3'000; ++i) {
    model.run(random, 1);
    const TortureVerdict verdict = check_torture(model.memory());
    ASSERT_TRUE(verdict.whole()) << "after store " << i << ": " << *verdict.contradiction;
  }
  for (int i = 0; i < 300; ++i) {
    model.run(random, 997);
    const TortureVerdict verdict = check_torture(model.memory());
    ASSERT_TRUE(verdict.whole()) << *verdict.contradiction;
    ASSERT_EQ(verdict.passes.size(), kCpus);
  }
}

// Long enough for cold pages to be visited twice.
TEST(TortureCheck, ColdPagesMayGoRound) {
  Model model;
  for (std::uint64_t pass = 0; pass < 2 * TortureLayout::kColdPages * TortureLayout::kColdPeriod / 16 + 3; ++pass) {
    for (int store = 0; store < 260; ++store) model.step(pass % kCpus);
  }
  EXPECT_TRUE(check_torture(model.memory()).whole());
}

// Any page that changed, taken from another instant, is a contradiction: the point of the whole mode.
TEST(TortureCheck, OneStalePageIsAlwaysFound) {
  std::mt19937_64 random{2};
  std::size_t mixed = 0;
  for (int round = 0; round < 60; ++round) {
    Model model;
    model.run(random, 20'000 + random() % 5'000);
    const std::vector<std::byte> before = model.memory();
    model.run(random, 3'000 + random() % 20'000);
    const std::vector<std::byte> now = model.memory();
    ASSERT_TRUE(check_torture(now).whole());
    for (std::uint64_t page = kBase; page < now.size(); page += TortureLayout::kPageBytes) {
      if (std::memcmp(&before[page], &now[page], TortureLayout::kPageBytes) == 0) continue;
      std::vector<std::byte>& mix = model.memory();
      std::memcpy(&mix[page], &before[page], TortureLayout::kPageBytes);
      EXPECT_FALSE(check_torture(mix).whole()) << "page at " << page << " of an earlier instant was not found";
      std::memcpy(&mix[page], &now[page], TortureLayout::kPageBytes);
      ++mixed;
      page += random() % 16 * TortureLayout::kPageBytes;
    }
  }
  EXPECT_GT(mixed, 500U);
}

TEST(TortureCheck, WhatIsNoTortureIsRefused) {
  EXPECT_FALSE(check_torture({}).whole());
  Model blank;
  std::memset(&blank.memory()[kPublishedAddress], 0, 8);
  EXPECT_FALSE(check_torture(blank.memory()).whole());

  struct Case {
    const char* name;
    void (*spoil)(Published&);
  };
  const Case cases[] = {
      {"stopped", [](Published& p) { p.state = static_cast<std::uint32_t>(GuestState::kViolation); }},
      {"no place", [](Published& p) { p.torture_base = 0; }},
      {"no vCPU", [](Published& p) { p.torture_cpu_count = 0; }},
      {"too many vCPUs", [](Published& p) { p.torture_cpu_count = kMaxCpus + 1; }},
      {"vCPUs beyond the page", [](Published& p) { p.torture_first_cpu = kMaxCpus; }},
      {"outside of memory", [](Published& p) { p.torture_base = UINT64_MAX - 4096; }},
      {"running out of memory", [](Published& p) { p.torture_base += 4096; }},
  };
  for (const auto& c : cases) {
    Model model;
    Published page{};
    std::memcpy(&page, &model.memory()[kPublishedAddress], sizeof page);
    c.spoil(page);
    std::memcpy(&model.memory()[kPublishedAddress], &page, sizeof page);
    EXPECT_FALSE(check_torture(model.memory()).whole()) << c.name;
  }
}

}  // namespace
}  // namespace understudy::guest
