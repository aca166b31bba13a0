// Power loss and failing disks, again and again, in the midst of folding: what is left is one epoch, memory, state and disk. With
// durability "disk" it is at least the newest epoch whose ack was allowed. The store's files and the disk's image lose what was not synced.
//
// UNDERSTUDY_TEST_CRASHES: so many power losses; `tests/soak cut` asks for more than a test may take.
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <random>

#include <gtest/gtest.h>

#include "replication/durable_image.h"
#include "replication/rocksdb_cut_store.h"
#include "tests/support/fake_disk.h"
#include "tests/support/fake_machine.h"
#include "tests/support/faulty_files.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kTorturePages = 128;
constexpr std::size_t kTortureDiskBytes = 64 << 10;
constexpr std::uint32_t kSector = 512;
constexpr Term kTerm{3};

// The real store, one call at a time when told; the node's own store as one number that is stable at once.
class StoreWriter final : public CutWriter {
 public:
  StoreWriter(CutStore& store, CommittedEpoch& spoiled) : store_{store}, spoiled_{spoiled} {}
  void put_pages(CutPages pages, Done done) override {
    add([this, pages = std::move(pages)] { return store_.put_pages(pages); }, std::move(done));
  }
  void put_journal(CommittedEpoch at, std::vector<DiskWrite> writes, Done done) override {
    add([this, at, writes = std::move(writes)] { return store_.put_journal(at, writes); }, std::move(done));
  }
  void commit(StoredCut cut, Done done) override {
    add([this, cut = std::move(cut)] { return store_.commit(cut); }, std::move(done));
  }
  void trim(CommittedEpoch through, Done done) override {
    add([this, through] { return store_.trim(through); }, std::move(done));
  }
  void forget(Done done) override {
    add([this] { return store_.forget(); }, std::move(done));
  }
  void spoil(CommittedEpoch through, Done done) override {
    add(
        [this, through]() -> Result<void> {
          spoiled_ = std::max(spoiled_, through);
          return {};
        },
        std::move(done));
  }
  bool answer() {
    if (calls_.empty()) return false;
    auto [call, done] = std::move(calls_.front());
    calls_.pop_front();
    done(call());
    return true;
  }

 private:
  void add(std::function<Result<void>()> call, Done done) { calls_.emplace_back(std::move(call), std::move(done)); }
  CutStore& store_;
  CommittedEpoch& spoiled_;
  std::deque<std::pair<std::function<Result<void>()>, Done>> calls_;
};

struct Totals {
  unsigned crashes = 0, cuts_found = 0, journals_found = 0, io_errors = 0;
};

// One pair's secondary over several lives, each ended by a power loss.
class Torture {
 public:
  explicit Torture(unsigned seed) : random_{seed} {
    std::string path = (std::filesystem::temp_directory_path() / "understudy-torture-XXXXXX").string();
    root_ = ::mkdtemp(path.data());
    env_ = rocksdb::NewCompositeEnv(files_);
  }
  ~Torture() { std::filesystem::remove_all(root_); }

  void life(Totals& totals) {
    auto opened = RocksDbCutStore::open(root_ / "cut", {.page_count = kTorturePages, .disks = {kTortureDiskBytes}, .env = env_.get()});
    ASSERT_TRUE(opened) << opened.error().text();
    const auto& store = **opened;
    std::optional<CommittedEpoch> stored;
    ASSERT_NO_FATAL_FAILURE(check(store, stored, totals));
    // The image goes on as the power loss left it; the guest's memory begins with nothing.
    fake::FakeMachine machine{kTorturePages};
    machine.make_warm();
    fake::FakeDiskSink disk{kTortureDiskBytes};
    disk.image() = image_;
    disk.sync();
    StoreWriter writer{**opened, spoiled_};
    DurableConfig config{.fold_every = 50ms, .budget = 200ms, .retry_after = 30ms, .chunk_pages = 8, .max_chunks = 3};
    config.ack_when_durable = roll(2) == 0;
    config.max_waiting_bytes = roll(3) == 0 ? std::size_t{24} << 10 : std::size_t{1} << 20;
    acked_ = {};
    {
      DurableImage image{config, machine, {&disk}, writer, stored};
      if (roll(4) == 0) files_->fail_one_in(200, roll(1'000'000));
      bool whole = false;
      for (unsigned steps = 30 + roll(300); steps > 0; --steps) {
        switch (roll(6)) {
          case 0:
          case 1:
            epoch(image, machine, whole);
            break;
          case 2:
            now_ += std::chrono::milliseconds{roll(20)};
            image.tick(now_);
            break;
          case 3:
          case 4:
            for (unsigned calls = roll(8); calls > 0 && writer.answer(); --calls) image.tick(now_);
            break;
          case 5:
            if (roll(30) == 0) {
              image.overwritten(now_);
              whole = false;
              acked_ = {};
            } else if (roll(4) == 0) {
              disk.set_stuck(roll(3) == 0);
            }
            break;
        }
        if (whole && image.status(now_).acks_are_durable && image.may_ack({kTerm, Epoch{epoch_}})) acked_ = Epoch{epoch_};
      }
      totals.io_errors += static_cast<unsigned>(image.status(now_).failed_folds);
      files_->lose_power();
      // Of the image's writes since its last sync, any sector may be there.
      image_ = disk.image();
      const auto& stable = disk.stable();
      for (std::size_t sector = 0; sector < kTortureDiskBytes; sector += kSector)
        if (roll(2) == 0)
          std::copy_n(stable.begin() + static_cast<std::ptrdiff_t>(sector), kSector, image_.begin() + static_cast<std::ptrdiff_t>(sector));
    }
    opened->reset();
    files_->restore_power(roll(1'000'000));
    ++totals.crashes;
  }

 private:
  unsigned roll(unsigned sides) { return static_cast<unsigned>(random_() % sides); }

  void epoch(DurableImage& image, fake::FakeMachine& machine, bool& whole) {
    if (!whole) {
      image.overwritten(now_);
      for (std::uint32_t page = 0; page < kTorturePages; ++page) write_page(image, page);
      for (std::uint32_t sector = 0; sector < kTortureDiskBytes / kSector; sector += 16) write_disk(image, sector, 16);
      whole = true;
    } else {
      for (unsigned writes = roll(25); writes > 0; --writes) write_page(image, roll(kTorturePages));
      if (roll(5) == 0) image.target().zero_pages(PageIndex{roll(kTorturePages - 10)}, roll(10));
      for (unsigned writes = roll(5); writes > 0; --writes) write_disk(image, roll(120), 1 + roll(8));
    }
    ++epoch_;
    const auto state = std::make_shared<std::vector<std::byte>>(200, static_cast<std::byte>(epoch_));
    history_[Epoch{epoch_}] = {{machine.memory().begin(), machine.memory().end()}, expected_disk_};
    while (history_.size() > 400) history_.erase(history_.begin());
    now_ += 10ms;
    image.committed({kTerm, Epoch{epoch_}}, OwnedBytes{*state, state}, {}, now_);
  }
  void write_page(DurableImage& image, std::uint32_t page) {
    if (roll(6) == 0) return image.target().zero_pages(PageIndex{page}, 1);
    std::ranges::fill(image.target().page_for_writing(PageIndex{page}), static_cast<std::byte>(1 + roll(255)));
  }
  void write_disk(DurableImage& image, std::uint32_t sector, std::uint32_t sectors) {
    DiskWrite write{.offset_bytes = std::uint64_t{sector} * kSector, .length_bytes = sectors * kSector, .zeros = roll(5) == 0, .data = {}};
    if (!write.zeros) {
      const auto bytes = std::make_shared<fake::DiskBytes>(write.length_bytes, static_cast<std::byte>(1 + roll(255)));
      write.data = {*bytes, bytes};
    }
    fake::write_into(expected_disk_, write);
    image.disks()[0]->apply(std::move(write));
  }

  // What the power loss left is one epoch, and not an older one than was acked.
  void check(const RocksDbCutStore& store, std::optional<CommittedEpoch>& stored, Totals& totals) {
    const auto cut = store.cut();
    ASSERT_TRUE(cut) << cut.error().text();
    const bool usable = *cut && (*cut)->at > spoiled_;
    // A cut that was given up for the guest's sake, with its acks, is no loss.
    if (acked_ != Epoch{} && spoiled_.epoch < acked_) {
      ASSERT_TRUE(usable) << "epoch " << acked_.raw() << " was acked as durable";
      ASSERT_GE((*cut)->at.epoch, acked_);
    }
    if (!usable) return;
    ++totals.cuts_found;
    stored = (*cut)->at;
    const auto& [memory, disk] = history_.at(stored->epoch);
    fake::DiskBytes pages(kTorturePages * kPageSizeBytes);
    const auto read = store.read_pages([&](PageIndex page, std::span<const std::byte, kPageSizeBytes> bytes) {
      std::ranges::copy(bytes, pages.begin() + static_cast<std::ptrdiff_t>(page.raw() * kPageSizeBytes));
    });
    ASSERT_TRUE(read) << read.error().text();
    ASSERT_TRUE(pages == memory) << "memory at epoch " << stored->epoch.raw();
    ASSERT_EQ((*cut)->state, std::vector<std::byte>(200, static_cast<std::byte>(stored->epoch.raw())));
    fake::DiskBytes replayed = image_;
    bool journal = false;
    const auto replay = store.read_journal([&](const DiskWrite& write) {
      fake::write_into(replayed, write);
      journal = true;
    });
    ASSERT_TRUE(replay) << replay.error().text();
    ASSERT_TRUE(replayed == disk) << "disk at epoch " << stored->epoch.raw();
    totals.journals_found += journal;
  }

  std::mt19937 random_;
  std::filesystem::path root_;
  const std::shared_ptr<fake::FaultyFiles> files_ = std::make_shared<fake::FaultyFiles>();
  std::unique_ptr<rocksdb::Env> env_;
  Instant now_{1000s};
  std::uint64_t epoch_ = 0;
  Epoch acked_;
  CommittedEpoch spoiled_;
  fake::DiskBytes image_ = fake::DiskBytes(kTortureDiskBytes), expected_disk_ = image_;
  std::map<Epoch, std::pair<fake::DiskBytes, fake::DiskBytes>> history_;
};

TEST(CutTorture, WhateverAPowerLossLeavesIsOneEpoch) {
  const char* const asked = std::getenv("UNDERSTUDY_TEST_CRASHES");
  const unsigned crashes = asked ? static_cast<unsigned>(std::atoi(asked)) : 40;
  Totals totals;
  for (unsigned seed = 1; totals.crashes < crashes; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Torture torture{seed};
    for (int lives = 0; lives < 10 && totals.crashes < crashes; ++lives) {
      SCOPED_TRACE("life " + std::to_string(lives));
      torture.life(totals);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  std::cout << totals.crashes << " power losses left " << totals.cuts_found << " cuts, " << totals.journals_found << " with a journal; "
            << totals.io_errors << " folds failed" << std::endl;
  EXPECT_GT(totals.cuts_found, totals.crashes / 5);
  EXPECT_GT(totals.journals_found, totals.crashes / 20);
}

}  // namespace
}  // namespace understudy
