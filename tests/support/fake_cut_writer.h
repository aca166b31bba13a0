// The durable cut's store in memory, which answers when it is told.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "replication/cut_writer.h"
#include "tests/support/fake_disk.h"

namespace understudy::fake {

// Calls wait until they are let through, in order. Keeps what a power loss leaves.
class FakeCutWriter final : public CutWriter {
 public:
  void put_pages(CutPages put, Done done) override {
    calls_.push_back({[this, put = std::move(put)] {
                        for (std::size_t i = 0; i < put.pages.size(); ++i) {
                          const auto from = put.contents.begin() + static_cast<std::ptrdiff_t>(i * kPageSizeBytes);
                          coming_[put.pages[i]] = std::vector<std::byte>(from, from + kPageSizeBytes);
                        }
                        for (const std::uint32_t page : put.zero_pages) coming_[page].clear();
                      },
                      std::move(done)});
  }
  void put_journal(CommittedEpoch at, std::vector<DiskWrite> writes, Done done) override {
    calls_.push_back({[this, at, writes = std::move(writes)] {
                        for (const DiskWrite& write : writes) journal_.emplace_back(at, write);
                      },
                      std::move(done)});
  }
  void commit(StoredCut cut, Done done) override {
    calls_.push_back({[this, cut = std::move(cut)] {
                        for (auto& [page, bytes] : coming_) pages[page] = std::move(bytes);
                        coming_.clear();
                        stored = cut;
                      },
                      std::move(done), true});
  }
  void trim(CommittedEpoch through, Done done) override {
    calls_.push_back(
        {[this, through] { std::erase_if(journal_, [&](const auto& entry) { return entry.first <= through; }); }, std::move(done)});
  }
  void forget(Done done) override {
    calls_.push_back({[this] {
                        stored.reset();
                        pages.clear();
                        coming_.clear();
                        journal_.clear();
                      },
                      std::move(done)});
  }
  void spoil(CommittedEpoch through, Done done) override { spoils_.push_back({through, std::move(done)}); }

  std::size_t waiting() const { return calls_.size(); }
  std::size_t spoils_waiting() const { return spoils_.size(); }
  // Lets one call through. `error`: it fails; a commit that fails may have happened (`anyway`).
  void answer(const std::optional<Error>& error = std::nullopt, bool anyway = false) {
    Call call = std::move(calls_.front());
    calls_.pop_front();
    if (!error || (anyway && call.commits)) call.run();
    call.done(error ? Result<void>{*error} : Result<void>{});
  }
  void answer_spoil(const std::optional<Error>& error = std::nullopt) {
    auto [through, done] = std::move(spoils_.front());
    spoils_.pop_front();
    if (!error) spoiled = std::max(spoiled, through);
    done(error ? Result<void>{*error} : Result<void>{});
  }
  // What could be started from, had the power failed now.
  bool usable() const { return stored && stored->at > spoiled; }
  DiskBytes disk(DiskBytes image) const {
    for (const auto& [epoch, write] : journal_)
      if (epoch <= stored->at) write_into(image, write);
    return image;
  }

  std::optional<StoredCut> stored;
  CommittedEpoch spoiled;
  std::map<std::uint32_t, std::vector<std::byte>> pages;  // empty: zeros

 private:
  struct Call {
    std::function<void()> run;
    Done done;
    bool commits = false;
  };
  std::deque<Call> calls_;
  std::deque<std::pair<CommittedEpoch, Done>> spoils_;
  std::map<std::uint32_t, std::vector<std::byte>> coming_;
  std::vector<std::pair<CommittedEpoch, DiskWrite>> journal_;
};

}  // namespace understudy::fake
