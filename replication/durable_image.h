// What the secondary holds, kept such that it outlives the host: memory, machine state and disks are folded, in the background, to a
// durable cut at a committed epoch.
//
// It stands between the session and what that writes to: target() before the machine's memory, disks() before the images. From one
// committed() to the next all that passes belongs to one epoch.
//
//  - While a cut is stored, the images receive nothing above it: later writes wait in memory, are put into the journal with the next cut,
//  and
//    go to the images when that is committed. The journal is trimmed when the images are synced.
//  - A fold takes memory as it was at its epoch: a page that a later epoch is about to change is copied first. No epoch waits for a fold.
//  - A fold that fails, or takes too long, is given up; what it had goes into the next one, and the stored cut stays what it was. When more
//    writes wait than there is room for, for longer than `budget`, the cut is given up as well: durably spoiled, and only then do they go
//    to the images.
//  - With `ack_when_durable`, an epoch's ack waits for the cut, but no longer than `budget`: then acks mean memory until the cut has caught
//  up.
//
// Loop-owned, by the session's loop: no thread, lock, file or clock inside.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/restore.h"
#include "net/base/clock.h"
#include "replication/cut_writer.h"
#include "replication/disk_stream.h"
#include "vmm/checkpoint_source.h"
#include "vmm/page_set.h"

namespace understudy {

struct DurableConfig {
  bool ack_when_durable = false;                          // durability "disk"; else "memory"
  Duration fold_every = std::chrono::seconds{1};          // memory: from one fold's beginning to the next
  Duration budget = std::chrono::milliseconds{500};       // disk: an ack waits for the cut no longer than this
  Duration give_up_after = std::chrono::seconds{5};       // the store has not answered a call for so long
  Duration retry_after = std::chrono::seconds{2};         // from a failed fold to the next
  std::size_t max_waiting_bytes = std::size_t{48} << 20;  // of disk writes above the cut
  std::size_t max_saved_bytes = std::size_t{64} << 20;    // of pages copied because a later epoch changed them
  std::size_t chunk_pages = 256;                          // handed to the store at once
  std::size_t max_chunks = 8;                             // at the store
  std::uint64_t max_bytes_per_second = std::uint64_t{0};  // of pages to the store; 0: as many as it takes
};

// For status and evidence.
struct DurableStatus {
  CommittedEpoch held;            // the newest epoch in memory
  CommittedEpoch durable;         // the stored cut's; (0, 0): there is none that could be started from
  Duration behind{};              // for how long the cut has been older than what is held
  bool acks_are_durable = false;  // an ack means what is on stable storage, now
  std::string trouble;            // why the cut does not follow; empty: it does
  std::size_t waiting_bytes = 0;  // of disk writes above the cut
  std::uint64_t folds = 0, failed_folds = 0, pages = 0, saved_pages = 0;
};

class DurableImage {
 public:
  // References outlive it. `stored`: the cut that the store has, if it has one that is not spoiled.
  DurableImage(DurableConfig config, CheckpointTarget& machine, std::vector<DiskSink*> images, CutWriter& writer,
               std::optional<CommittedEpoch> stored);
  ~DurableImage();
  DurableImage(const DurableImage&) = delete;
  DurableImage& operator=(const DurableImage&) = delete;

  // For the session, instead of the machine and the images.
  CheckpointTarget& target();
  std::vector<DiskSink*> disks();

  // A full transfer begins: until the next committed() what is written is no epoch, and goes to the images once the stored cut is spoiled.
  void overwritten(Instant now);
  // Everything written since the last call is `at`. Again, with nothing written, when its term was raised.
  void committed(CommittedEpoch at, OwnedBytes state, std::string ended, Instant now);
  // Memory was made `at` by other hands: those of the guest that ran here until a switchover.
  void adopted(CommittedEpoch at, OwnedBytes state, Instant now);
  // Call every few milliseconds, and when the store has answered.
  void tick(Instant now);
  // Whether the ack of `at` may leave.
  bool may_ack(CommittedEpoch at) const;

  // The node is about to run the guest and has spoiled the cut: every committed write goes to the images, where the guest's first read of a
  // block waits for it. Nothing is folded any more.
  void end();

  DurableStatus status(Instant now) const;

 private:
  class Target;
  class Disk;
  enum class Mode : std::uint8_t {
    kDirect,    // no cut is stored: writes go to the images
    kJournal,   // one is, or is being made: writes wait
    kSpoiling,  // it is being spoiled, for writes to go to the images
  };
  struct Fold {
    enum class Stage : std::uint8_t { kPages, kJournal, kCommit };
    Stage stage = Stage::kPages;
    CommittedEpoch at;
    OwnedBytes state;
    std::string ended;
    Instant started_at;
    PageSet all;                       // what the cut must have anew
    PageSet left;                      // of these, not copied yet
    std::size_t cursor = 0;            // no page below it is left
    std::vector<DiskWrite> writes;     // as they came
    std::vector<DiskWrite> journal;    // what they leave
    std::vector<std::uint64_t> syncs;  // of the images, that must be done before the commit; empty: none
  };

  void wrote(PageIndex page, bool zeros);
  void take(DiskWrite write);
  void apply(std::vector<DiskWrite> writes);
  void save_first(PageIndex page);
  void add_copy(CutPages& into, PageIndex page);
  void begin_fold(Instant now);
  void fold_on(Instant now);
  bool send_chunk(CutPages& chunk);
  void commit_fold();
  void fold_committed(Instant now);
  void drop_fold();
  void fold_failed(const std::string& why, Instant now);
  void leave_journal(Instant now);
  void spoil(Instant now);
  void spoiled();
  void trim(Instant now);
  void forget();
  void go_direct();
  CutWriter::Done answer(bool chunk);
  std::size_t waiting_bytes() const { return waiting_bytes_; }
  std::optional<Error> failure() const;

  const DurableConfig config_;
  CheckpointTarget& machine_;
  const std::vector<DiskSink*> images_;
  CutWriter& writer_;
  std::unique_ptr<Target> target_;
  std::vector<std::unique_ptr<Disk>> disks_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  Mode mode_;
  bool cut_may_exist_;  // a cut is stored that is not known to be spoiled
  bool forget_due_;     // what is stored must go before anything is added to it
  bool ended_ = false;
  bool whole_ = false;  // memory is held_
  CommittedEpoch held_, durable_;
  CommittedEpoch asked_;    // the newest cut that the store was asked to commit: it may have it
  CommittedEpoch spoiled_;  // a cut up to here could not be started from
  OwnedBytes state_;
  std::string guest_ended_;
  PageSet dirty_;                   // written since what the latest fold took
  PageSet zeros_;                   // known to be zeros without a look, which would give them memory
  std::vector<DiskWrite> waiting_;  // of epochs up to held_, or of the one that is being written
  std::size_t waiting_bytes_ = 0;   // with the fold's

  std::optional<Fold> fold_;
  std::vector<CutPages> saved_;  // copies made ahead of a change; the last one is being filled
  std::size_t saved_bytes_ = 0;
  std::size_t chunks_at_store_ = 0;
  std::size_t calls_at_store_ = 0;
  std::uint64_t generation_ = 0;  // of folds: an answer to an earlier one's call changes nothing
  Instant oldest_call_at_;        // since when the store owes an answer
  Instant now_;                   // of the latest call
  Instant behind_since_, retry_at_, next_fold_at_, next_chunk_at_, next_trim_at_;
  std::optional<Instant> crowded_since_;  // more than max_waiting_bytes wait
  bool degraded_ = true;                  // acks mean memory, whatever is configured
  std::string trouble_;

  bool spoil_asked_ = false;
  Instant spoil_asked_at_, spoil_again_at_;
  std::optional<Error> spoil_error_;

  CommittedEpoch applied_, trimming_, trimmed_;  // by the images; being synced; and gone from the journal
  std::vector<std::uint64_t> trim_syncs_;
  DurableStatus counted_;
};

}  // namespace understudy
