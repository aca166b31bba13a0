// A machine over plain memory: source and target of checkpoints, without KVM. Its whole state besides memory is one counter.
//
// One thread. Like KVM it reports a write only once, and it writes guest memory itself while its state is saved. It checks how it is
// driven: misuse (a copy source written while paused, restore while running) is a failed US_CHECK.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "net/base/check.h"
#include "vmm/checkpoint_source.h"

namespace understudy::fake {

class FakeMachine final : public CheckpointSource, public CheckpointTarget {
 public:
  explicit FakeMachine(std::size_t pages) : memory_(pages * kPageSizeBytes), absent_{pages}, dirty_{pages}, hot_{pages} {
    fingerprint_.layout.regions = {{GuestPhysicalAddress{0}, PageIndex{0}, pages}};
    fingerprint_.vcpu_count = 1;
    fingerprint_.tsc_khz = 1'000'000;
    fingerprint_.xsave_bytes = 4096;
    fingerprint_.cpu_feature_words = {1, 2, 3};
    fingerprint_.device_ids = {"net0", "blk0"};
  }

  // --- the guest's side
  // Writes guest memory, as running guest code does.
  void guest_write(std::size_t offset, std::span<const std::byte> bytes) {
    US_CHECK(running() && offset + bytes.size() <= memory_.size());
    touch(offset, bytes);
  }
  void guest_write_u64(std::size_t offset, std::uint64_t value) { guest_write(offset, std::as_bytes(std::span{&value, 1})); }
  std::uint64_t read_u64(std::size_t offset) const {
    std::uint64_t value = 0;
    std::memcpy(&value, memory_.data() + offset, sizeof value);
    return value;
  }
  // The machine's state: what save() saves and restore() brings back.
  // The guest gives a page back: it is zeros, and holds no memory until it is written, or read by who should not.
  void give_back(PageIndex page) {
    touch(page.raw() * kPageSizeBytes, std::vector<std::byte>(kPageSizeBytes));
    absent_.insert(page);
  }
  bool holds(PageIndex page) const { return !absent_.contains(page); }
  void set_counter(std::uint64_t value) { counter_ = value; }
  std::uint64_t counter() const { return counter_; }
  std::span<const std::byte> memory() const { return memory_; }
  bool running() const { return !paused_ && !warm_ && !ended_; }
  // A secondary's machine: built, and no guest in it yet. restore() and resume() end that.
  void make_warm() { warm_ = true; }

  // The guest ends by itself: it stands, and cannot be paused, until reboot() or accept_end().
  void end_guest() {
    US_CHECK(running());
    ended_ = true;
  }
  void accept_end(std::string text) {
    US_CHECK(!running());
    ended_ = true;
    end_ = std::move(text);
  }
  // Stands, with `boot_word` written over the start of every other page, as a kernel is loaded.
  void reboot(std::uint64_t boot_word) {
    US_CHECK(!running());
    ended_ = warm_ = false;
    end_.reset();
    paused_ = true;
    counter_ = 0;
    for (std::size_t page = 0; page < page_count(); page += 2) touch(page * kPageSizeBytes, std::as_bytes(std::span{&boot_word, 1}));
  }

  // A write by the machine's owner, while the guest stands.
  void host_write_u64(std::size_t offset, std::uint64_t value) {
    US_CHECK(!running());
    touch(offset, std::as_bytes(std::span{&value, 1}));
  }

  // --- scripts
  void fail_next_pause(Error error) { pause_error_ = std::move(error); }
  void fail_next_save(Error error) { save_error_ = std::move(error); }
  void fail_next_harvest(Error error) { harvest_error_ = std::move(error); }
  void fail_next_resume(Error error) { resume_error_ = std::move(error); }
  void refuse_states(std::optional<std::string> reason) { refusal_ = std::move(reason); }
  MachineFingerprint& mutable_fingerprint() { return fingerprint_; }
  // This page is written by "KVM" during save(); nullopt: none.
  void set_page_written_by_save(std::optional<std::size_t> page) { written_by_save_ = page; }
  std::size_t pauses() const { return pauses_; }
  std::size_t tracked_dirty() const { return dirty_.count(); }
  bool tracking() const { return tracking_; }
  std::size_t hot_pages() const { return hot_.count(); }

  // --- CheckpointSource, CheckpointTarget
  MachineFingerprint fingerprint() const override { return fingerprint_; }
  std::size_t page_count() const override { return dirty_.page_count(); }
  std::span<const std::byte, kPageSizeBytes> page(PageIndex page) const override {
    forget_absent(page);
    return std::span<const std::byte, kPageSizeBytes>{memory_.data() + page.raw() * kPageSizeBytes, kPageSizeBytes};
  }
  std::span<std::byte, kPageSizeBytes> page_for_writing(PageIndex page) override {
    US_CHECK(!running());
    forget_absent(page);
    return std::span<std::byte, kPageSizeBytes>{memory_.data() + page.raw() * kPageSizeBytes, kPageSizeBytes};
  }
  std::size_t absent_run(PageIndex page, std::size_t limit) const override {
    std::size_t run = 0;
    while (run < limit && page.raw() + run < page_count() && absent_.contains(PageIndex{page.raw() + run})) ++run;
    return run;
  }
  void zero_pages(PageIndex first, std::size_t count) override {
    US_CHECK(!running());
    for (std::size_t i = 0; i < count; ++i) {
      std::memset(memory_.data() + (first.raw() + i) * kPageSizeBytes, 0, kPageSizeBytes);
      absent_.insert(PageIndex{first.raw() + i});
    }
  }
  Result<void> start_tracking() override {
    tracking_ = true;
    return {};
  }
  Result<void> stop_tracking() override {
    tracking_ = false;
    dirty_.clear();
    hot_.clear();
    return {};
  }
  Result<void> pause(Duration) override {
    if (auto error = std::exchange(pause_error_, std::nullopt)) return std::move(*error);
    if (ended_ && !end_) return Error{ErrorCode::kUnavailable, "the guest has ended"};
    US_CHECK(running() || end_);
    paused_ = true;
    ++pauses_;
    return {};
  }
  Result<std::span<const std::byte>> save() override {
    US_CHECK(paused_);
    if (auto error = std::exchange(save_error_, std::nullopt)) return std::move(*error);
    if (written_by_save_) {
      const std::uint64_t mark = ++save_marks_;
      touch(*written_by_save_ * kPageSizeBytes + 64, std::as_bytes(std::span{&mark, 1}));
    }
    saved_.resize(kStateBytes);
    const std::uint64_t words[2] = {kStateMagic, counter_};
    std::memcpy(saved_.data(), words, sizeof words);
    return std::span<const std::byte>{saved_};
  }
  Result<void> harvest(PageSet& into) override {
    if (auto error = std::exchange(harvest_error_, std::nullopt)) return std::move(*error);
    US_CHECK(tracking_);
    into.merge(dirty_);
    for (std::size_t i = 0; i < dirty_.words().size(); ++i) dirty_.words()[i] &= hot_.words()[i];
    return {};
  }
  void set_hot(PageIndex page, bool hot) override {
    if (hot)
      hot_.insert(page);
    else
      hot_.remove(page);
  }
  Duration protection_fault() const override { return std::chrono::microseconds{20}; }
  void merge_back(const PageSet& pages) override {
    if (tracking_) dirty_.merge(pages);
  }
  Result<void> resume() override {
    if (auto error = std::exchange(resume_error_, std::nullopt)) return std::move(*error);
    if (ended_) return Error{ErrorCode::kUnavailable, "the guest has ended"};
    paused_ = false;
    warm_ = false;
    return {};
  }
  bool paused() const override { return paused_; }
  std::optional<std::string> ended() const override { return end_; }

  Result<void> check_state(std::span<const std::byte> state) const override {
    if (refusal_) return Error{ErrorCode::kRefused, *refusal_};
    std::uint64_t magic = 0;
    if (state.size() == kStateBytes) std::memcpy(&magic, state.data(), sizeof magic);
    if (magic != kStateMagic) return Error{ErrorCode::kCorrupt, "fake state of " + std::to_string(state.size()) + " bytes"};
    return {};
  }
  Result<void> restore(std::span<const std::byte> state) override {
    US_CHECK(!running());
    US_TRY(check_state(state));
    std::memcpy(&counter_, state.data() + 8, sizeof counter_);
    warm_ = false;
    paused_ = true;
    return {};
  }

 private:
  static constexpr std::uint64_t kStateMagic = 0x6d61'6368'696e'6531;
  static constexpr std::size_t kStateBytes = 512;

  void touch(std::size_t offset, std::span<const std::byte> bytes) {
    std::memcpy(memory_.data() + offset, bytes.data(), bytes.size());
    if (bytes.empty()) return;
    for (std::size_t page = offset / kPageSizeBytes; page <= (offset + bytes.size() - 1) / kPageSizeBytes; ++page) {
      forget_absent(PageIndex{page});
      if (tracking_) dirty_.insert(PageIndex{page});
    }
  }

  void forget_absent(PageIndex page) const { absent_.words()[page.raw() / 64] &= ~(std::uint64_t{1} << (page.raw() % 64)); }

  std::vector<std::byte> memory_;
  mutable PageSet absent_;  // reading brings memory
  PageSet dirty_;
  PageSet hot_;
  MachineFingerprint fingerprint_;
  std::vector<std::byte> saved_;
  std::uint64_t counter_ = 0;
  std::uint64_t save_marks_ = 0;
  bool tracking_ = false;
  bool paused_ = false;
  bool warm_ = false;
  bool ended_ = false;
  std::optional<std::string> end_;
  std::size_t pauses_ = 0;
  std::optional<std::size_t> written_by_save_;
  std::optional<std::string> refusal_;
  std::optional<Error> pause_error_, save_error_, harvest_error_, resume_error_;
};

}  // namespace understudy::fake
