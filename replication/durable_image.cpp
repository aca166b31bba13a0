#include "replication/durable_image.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "net/base/check.h"
#include "replication/write_coalescing.h"

namespace understudy {

// The machine's memory, with every change told first.
class DurableImage::Target final : public CheckpointTarget {
 public:
  explicit Target(DurableImage& image) : image_{image} {}
  MachineFingerprint fingerprint() const override { return image_.machine_.fingerprint(); }
  std::size_t page_count() const override { return image_.machine_.page_count(); }
  std::span<const std::byte, kPageSizeBytes> page(PageIndex page) const override { return std::as_const(image_.machine_).page(page); }
  std::size_t absent_run(PageIndex page, std::size_t limit) const override { return image_.machine_.absent_run(page, limit); }
  std::span<std::byte, kPageSizeBytes> page_for_writing(PageIndex page) override {
    image_.wrote(page, false);
    return image_.machine_.page_for_writing(page);
  }
  void zero_pages(PageIndex first, std::size_t count) override {
    for (std::size_t i = 0; i < count; ++i) image_.wrote(PageIndex{first.raw() + i}, true);
    image_.machine_.zero_pages(first, count);
  }
  Result<void> check_state(std::span<const std::byte> state) const override { return image_.machine_.check_state(state); }
  Result<void> restore(std::span<const std::byte> state) override { return image_.machine_.restore(state); }
  Result<void> resume() override { return image_.machine_.resume(); }

 private:
  DurableImage& image_;
};

class DurableImage::Disk final : public DiskSink {
 public:
  Disk(DurableImage& image, std::uint16_t index) : image_{image}, index_{index} {}
  std::uint64_t capacity_bytes() const override { return below().capacity_bytes(); }
  bool read_only() const override { return below().read_only(); }
  void apply(DiskWrite write) override {
    write.disk = index_;
    image_.take(std::move(write));
  }
  // What waits is told of by the first disk alone: the session adds them up.
  std::size_t backlog_bytes() const override { return below().backlog_bytes() + (index_ == 0 ? image_.waiting_bytes() : 0); }
  std::uint64_t sync() override { return below().sync(); }
  std::uint64_t synced() const override { return below().synced(); }
  std::optional<Error> failure() const override {
    if (auto failed = below().failure()) return failed;
    return index_ == 0 ? image_.failure() : std::nullopt;
  }

 private:
  DiskSink& below() const { return *image_.images_[index_]; }
  DurableImage& image_;
  const std::uint16_t index_;
};

DurableImage::DurableImage(DurableConfig config, CheckpointTarget& machine, std::vector<DiskSink*> images, CutWriter& writer,
                           std::optional<CommittedEpoch> stored)
    : config_{config},
      machine_{machine},
      images_{std::move(images)},
      writer_{writer},
      target_{std::make_unique<Target>(*this)},
      mode_{stored ? Mode::kJournal : Mode::kDirect},
      cut_may_exist_{stored.has_value()},
      forget_due_{!stored},
      durable_{stored.value_or(CommittedEpoch{})},
      dirty_{machine.page_count()},
      zeros_{machine.page_count()} {
  zeros_.insert_all();
  for (std::size_t disk = 0; disk < images_.size(); ++disk)
    disks_.push_back(std::make_unique<Disk>(*this, static_cast<std::uint16_t>(disk)));
}

DurableImage::~DurableImage() { *alive_ = false; }

CheckpointTarget& DurableImage::target() { return *target_; }

std::vector<DiskSink*> DurableImage::disks() {
  std::vector<DiskSink*> out;
  for (const auto& disk : disks_) out.push_back(disk.get());
  return out;
}

// -------------------------------------------------------------------------------------------------------- what is written

void DurableImage::wrote(PageIndex page, bool zeros) {
  if (fold_ && fold_->left.contains(page)) save_first(page);
  dirty_.insert(page);
  if (zeros)
    zeros_.insert(page);
  else
    zeros_.remove(page);
}

void DurableImage::take(DiskWrite write) {
  if (mode_ == Mode::kDirect) {
    images_[write.disk]->apply(std::move(write));
    return;
  }
  waiting_bytes_ += kept_bytes(write);
  waiting_.push_back(std::move(write));
}

void DurableImage::apply(std::vector<DiskWrite> writes) {
  for (DiskWrite& write : writes) {
    DiskSink& image = *images_[write.disk];
    image.apply(std::move(write));
  }
}

void DurableImage::overwritten(Instant now) {
  now_ = now;
  whole_ = false;
  if (fold_) drop_fold();
  leave_journal(now);
}

void DurableImage::committed(CommittedEpoch at, OwnedBytes state, std::string ended, Instant now) {
  now_ = now;
  if (held_ <= durable_ || !whole_) behind_since_ = now;
  whole_ = true;
  held_ = at;
  state_ = std::move(state);
  guest_ended_ = std::move(ended);
  tick(now);
}

void DurableImage::adopted(CommittedEpoch at, OwnedBytes state, Instant now) {
  US_CHECK(!fold_);
  dirty_.insert_all();
  zeros_.clear();
  for (std::size_t page = 0; page < machine_.page_count();) {
    const std::size_t absent = machine_.absent_run(PageIndex{page}, machine_.page_count() - page);
    for (std::size_t i = 0; i < absent; ++i) zeros_.insert(PageIndex{page + i});
    page += std::max<std::size_t>(absent, 1);
  }
  committed(at, std::move(state), {}, now);
}

bool DurableImage::may_ack(CommittedEpoch at) const {
  // A raised term is told of at once: the epoch that it is said of is durable already.
  return !config_.ack_when_durable || degraded_ || durable_.epoch >= at.epoch;
}

// ------------------------------------------------------------------------------------------------------------------ folds

void DurableImage::tick(Instant now) {
  now_ = now;
  if (ended_) return;
  if (fold_ && calls_at_store_ > 0 && now - oldest_call_at_ > config_.give_up_after)
    fold_failed("the store has not answered for " + ms_text(now - oldest_call_at_), now);
  if (waiting_bytes_ <= config_.max_waiting_bytes || mode_ != Mode::kJournal)
    crowded_since_.reset();
  else if (!crowded_since_)
    crowded_since_ = now;
  if (crowded_since_ && now - *crowded_since_ > config_.budget) {
    if (fold_) fold_failed("disk writes come faster than the store takes them", now);
    leave_journal(now);
  }
  if (mode_ == Mode::kSpoiling && !spoil_asked_ && now >= spoil_again_at_) spoil(now);
  if (forget_due_ && calls_at_store_ == 0 && mode_ == Mode::kDirect && now >= retry_at_) forget();
  if (fold_) fold_on(now);
  const bool urgent = config_.ack_when_durable || waiting_bytes_ > config_.max_waiting_bytes / 4;
  if (!fold_ && whole_ && held_ > durable_ && held_ > spoiled_ && !forget_due_ && calls_at_store_ == 0 && mode_ != Mode::kSpoiling &&
      now >= retry_at_ && (urgent || now >= next_fold_at_)) {
    begin_fold(now);
    fold_on(now);
  }
  if (whole_ && held_.epoch > durable_.epoch && now - behind_since_ > config_.budget) degraded_ = true;
  trim(now);
}

void DurableImage::forget() {
  writer_.forget([this, alive = std::weak_ptr{alive_}, done = answer(false)](Result<void> put) {
    const auto still = alive.lock();
    if (!still || !*still) return;
    if (put) {
      forget_due_ = false;
    } else {
      trouble_ = put.error().text();
      retry_at_ = now_ + config_.retry_after;
    }
    done(std::move(put));
  });
}

void DurableImage::begin_fold(Instant now) {
  fold_.emplace();
  fold_->at = held_;
  fold_->state = state_;
  fold_->ended = guest_ended_;
  fold_->started_at = now;
  fold_->all = std::exchange(dirty_, PageSet{machine_.page_count()});
  fold_->writes = std::exchange(waiting_, {});
  fold_->left = fold_->all;
  next_fold_at_ = now + config_.fold_every;
  ++generation_;
  if (mode_ == Mode::kDirect) {
    // The images hold this epoch once what is on its way to them is synced; from here on nothing above it goes there.
    mode_ = Mode::kJournal;
    applied_ = held_;
    for (DiskSink* const image : images_) fold_->syncs.push_back(image->read_only() ? 0 : image->sync());
  }
  fold_->journal = coalesced(fold_->writes);
}

void DurableImage::add_copy(CutPages& into, PageIndex page) {
  const auto number = static_cast<std::uint32_t>(page.raw());
  fold_->left.remove(page);
  if (zeros_.contains(page)) {
    into.zero_pages.push_back(number);
    return;
  }
  const auto bytes = std::as_const(machine_).page(page);
  into.pages.push_back(number);
  into.contents.insert(into.contents.end(), bytes.begin(), bytes.end());
}

void DurableImage::save_first(PageIndex page) {
  if (saved_.empty() || saved_.back().pages.size() >= config_.chunk_pages) saved_.emplace_back();
  const std::size_t before = saved_.back().contents.size();
  add_copy(saved_.back(), page);
  saved_bytes_ += saved_.back().contents.size() - before;
  ++counted_.saved_pages;
  if (saved_bytes_ <= config_.max_saved_bytes) return;
  fold_failed("the guest changes memory faster than the store takes it", now_);
}

bool DurableImage::send_chunk(CutPages& chunk) {
  if (chunks_at_store_ >= config_.max_chunks || now_ < next_chunk_at_) return false;
  if (config_.max_bytes_per_second != 0) {
    const Duration takes{static_cast<std::int64_t>(chunk.contents.size() * 1'000'000'000 / config_.max_bytes_per_second)};
    next_chunk_at_ = std::max(next_chunk_at_, now_ - std::chrono::milliseconds{20}) + takes;
  }
  counted_.pages += chunk.pages.size();
  ++chunks_at_store_;
  writer_.put_pages(std::move(chunk), answer(true));
  return true;
}

void DurableImage::fold_on(Instant now) {
  if (fold_->stage == Fold::Stage::kCommit) return;
  if (fold_->stage == Fold::Stage::kJournal) {
    if (calls_at_store_ == 0) commit_fold();
    return;
  }
  while (!saved_.empty()) {
    const std::size_t bytes = saved_.front().contents.size();
    if (!send_chunk(saved_.front())) return;
    saved_bytes_ -= bytes;
    saved_.erase(saved_.begin());
  }
  while (chunks_at_store_ < config_.max_chunks && now >= next_chunk_at_) {
    CutPages chunk;
    auto words = fold_->left.words();
    while (fold_->cursor < words.size() && chunk.pages.size() < config_.chunk_pages) {
      const std::uint64_t word = words[fold_->cursor];
      if (word == 0) {
        ++fold_->cursor;
        continue;
      }
      add_copy(chunk, PageIndex{fold_->cursor * 64 + static_cast<std::size_t>(std::countr_zero(word))});
    }
    if (chunk.pages.empty() && chunk.zero_pages.empty()) break;
    send_chunk(chunk);
  }
  // A piece that failed must not be followed by a commit: each step waits for the answers to the one before.
  if (fold_->cursor < fold_->left.words().size() || chunks_at_store_ > 0) return;
  for (std::size_t i = 0; i < fold_->syncs.size(); ++i)
    if (images_[i]->synced() < fold_->syncs[i]) return;
  fold_->stage = Fold::Stage::kJournal;
  if (fold_->journal.empty()) return fold_on(now);
  writer_.put_journal(fold_->at, fold_->journal, answer(false));
}

void DurableImage::commit_fold() {
  fold_->stage = Fold::Stage::kCommit;
  cut_may_exist_ = true;
  asked_ = fold_->at;
  StoredCut cut{.at = fold_->at, .ended = fold_->ended, .state = {fold_->state.bytes.begin(), fold_->state.bytes.end()}};
  writer_.commit(std::move(cut), [this, alive = std::weak_ptr{alive_}, generation = generation_, done = answer(false)](Result<void> put) {
    const auto still = alive.lock();
    if (!still || !*still) return;
    const bool committed = put.has_value() && fold_ && generation == generation_;
    done(std::move(put));
    if (committed) fold_committed(now_);
  });
}

void DurableImage::fold_committed(Instant now) {
  durable_ = fold_->at;
  applied_ = durable_;
  for (const DiskWrite& write : fold_->writes) waiting_bytes_ -= kept_bytes(write);
  std::vector<DiskWrite> journal = std::move(fold_->journal);
  behind_since_ = fold_->started_at;
  fold_.reset();
  ++counted_.folds;
  trouble_.clear();
  if (held_.epoch <= durable_.epoch || now - behind_since_ <= config_.budget) degraded_ = false;
  apply(std::move(journal));
}

// What it had goes into the next one.
void DurableImage::drop_fold() {
  ++generation_;
  dirty_.merge(fold_->all);
  auto writes = std::move(fold_->writes);
  writes.insert(writes.end(), std::make_move_iterator(waiting_.begin()), std::make_move_iterator(waiting_.end()));
  waiting_ = std::move(writes);
  fold_.reset();
  saved_.clear();
  saved_bytes_ = 0;
  if (mode_ == Mode::kJournal && !cut_may_exist_) go_direct();
}

// Nothing is stored that could be started from.
void DurableImage::go_direct() {
  mode_ = Mode::kDirect;
  waiting_bytes_ = 0;
  apply(std::exchange(waiting_, {}));
}

void DurableImage::fold_failed(const std::string& why, Instant now) {
  trouble_ = why;
  ++counted_.failed_folds;
  retry_at_ = now + config_.retry_after;
  degraded_ = true;
  drop_fold();
}

// Counts a call to the store, and its answer.
CutWriter::Done DurableImage::answer(bool chunk) {
  if (calls_at_store_++ == 0) oldest_call_at_ = now_;
  return [this, alive = std::weak_ptr{alive_}, generation = generation_, chunk](Result<void> done) {
    const auto still = alive.lock();
    if (!still || !*still) return;
    --calls_at_store_;
    oldest_call_at_ = now_;
    if (chunk) --chunks_at_store_;
    if (!done && fold_ && generation == generation_) fold_failed(done.error().text(), now_);
  };
}

void DurableImage::trim(Instant now) {
  if (mode_ != Mode::kJournal) return;
  if (trim_syncs_.empty()) {
    if (applied_ <= trimmed_ || applied_ != durable_ || now < next_trim_at_) return;
    next_trim_at_ = now + config_.fold_every;
    trimming_ = applied_;
    for (DiskSink* const image : images_) trim_syncs_.push_back(image->read_only() ? 0 : image->sync());
  }
  for (std::size_t i = 0; i < trim_syncs_.size(); ++i)
    if (images_[i]->synced() < trim_syncs_[i]) return;
  trim_syncs_.clear();
  trimmed_ = trimming_;
  writer_.trim(trimmed_, answer(false));
}

// ------------------------------------------------------------------------------------------------------------ without a cut

void DurableImage::leave_journal(Instant now) {
  if (mode_ != Mode::kJournal) return;
  degraded_ = true;
  if (cut_may_exist_) {
    mode_ = Mode::kSpoiling;
    spoil(now);
  } else {
    go_direct();
  }
}

void DurableImage::spoil(Instant now) {
  spoil_asked_ = true;
  spoil_asked_at_ = now;
  spoiled_ = std::max(durable_, asked_);
  writer_.spoil(spoiled_, [this, alive = std::weak_ptr{alive_}](Result<void> put) {
    const auto still = alive.lock();
    if (!still || !*still || ended_) return;
    spoil_asked_ = false;
    if (put) return spoiled();
    spoil_error_ = std::move(put.error()).within("give the durable cut up");
    spoil_again_at_ = now_ + config_.retry_after;
  });
}

void DurableImage::spoiled() {
  spoil_error_.reset();
  cut_may_exist_ = false;
  forget_due_ = true;
  durable_ = applied_ = trimming_ = trimmed_ = {};
  trim_syncs_.clear();
  // The next cut begins with nothing.
  dirty_.insert_all();
  go_direct();
}

std::optional<Error> DurableImage::failure() const {
  if (mode_ != Mode::kSpoiling) return std::nullopt;
  if (spoil_error_) return spoil_error_;
  if (!spoil_asked_ || now_ - spoil_asked_at_ <= config_.give_up_after) return std::nullopt;
  return Error{ErrorCode::kTimeout, "give the durable cut up: the store has not answered for " + ms_text(now_ - spoil_asked_at_)};
}

void DurableImage::end() {
  ended_ = true;
  whole_ = false;
  if (fold_) drop_fold();
  go_direct();
  writer_.forget([](Result<void>) {});
}

DurableStatus DurableImage::status(Instant now) const {
  DurableStatus status = counted_;
  status.held = whole_ ? held_ : CommittedEpoch{};
  status.durable = durable_;
  if (whole_ && held_.epoch > durable_.epoch) status.behind = now - behind_since_;
  status.acks_are_durable = config_.ack_when_durable && !degraded_;
  status.trouble = spoil_error_ ? spoil_error_->text() : trouble_;
  status.waiting_bytes = waiting_bytes_;
  return status;
}

}  // namespace understudy
