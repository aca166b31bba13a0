// The primary's end of the epoch protocol: handshake, full transfer while the guest runs, then epochs, and catching up after a break.
//
// One object serves a primary for as long as it runs its guest, session after session. README.md has the messages, in their order.
//
//  - The gate's open epoch numbers the epochs: they rise over all sessions and terms, and never name two states.
//  - An epoch ends when its pacer says so (epoch_pacer.h) and there is room for it: in the ack window, in the staging pool and on the link.
//    Without room the epoch goes on, the guest runs, and its output waits; memory does not grow.
//  - After a session's end what the peer has not acked is kept for resume_within, or until the guest's disk has to wait for it: the same
//    incarnation, back with an epoch that we sent it, gets what came after. Then, for resync_within, it is only known where it may differ:
//    tracked pages, and a map of each disk. It gets those, as they are by then; anyone else gets all. A transfer that was broken off leaves
//    such a record as well.
//
// Loop-owned: no thread, lock, socket or clock inside (the clock given is read to time the pause's steps). The owner decodes the link's
// messages and passes them to receive(), and calls tick() at next_tick(), or sooner.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/capture.h"
#include "checkpoint/hot_pages.h"
#include "checkpoint/manifest.h"
#include "checkpoint/staging.h"
#include "net/base/clock.h"
#include "net/base/ids.h"
#include "net/codec.h"
#include "net/link.h"
#include "replication/ack_window.h"
#include "replication/disk_stream.h"
#include "replication/egress_gate.h"
#include "replication/epoch_pacer.h"
#include "replication/epoch_store.h"
#include "replication/messages.h"
#include "replication/scrub.h"
#include "vmm/checkpoint_source.h"

namespace understudy {

struct PrimaryConfig {
  PairId pair;
  NodeId node = NodeId::kA;
  Incarnation incarnation;
  PacingConfig pacing;                                       // when an epoch ends
  Duration pause_deadline = std::chrono::milliseconds{100};  // until the vCPUs stand; then the epoch goes on
  Duration max_pause = std::chrono::seconds{1};              // of a pause in chunks; then the session breaks and the guest resumes
  Duration hello_every = std::chrono::milliseconds{200};
  Duration resume_within = std::chrono::seconds{5};
  Duration resync_within = std::chrono::hours{1};  // dirty tracking goes on for so long without a peer
  std::uint64_t transfer_bytes_per_second = 0;     // of full transfers and resyncs; 0: no limit
  AckWindowLimits window;
  // The full transfer: bytes sent and not yet confirmed; also without progress for window.ack_timeout the session breaks.
  std::size_t transfer_window_bytes = std::size_t{32} << 20;
  std::size_t final_round_pages = 2048;  // so few dirty pages left: pause for the first epoch
  unsigned max_rounds = 8;               // or after so many rounds
  std::size_t batch_pages = 256;         // 1 to kMaxBatchPages
  std::uint32_t disk_chunk_bytes = std::uint32_t{1} << 20;
  ScrubLimits scrub;
  std::size_t max_hot_pages = 16384;  // kept writable, with a copy of each (HotPages); 0: every page is protected again
};

// The numbers of one committed epoch.
struct EpochReport {
  EpochTimings timings;
  std::size_t dirty_pages = 0;    // reported by the harvest
  std::size_t changed_pages = 0;  // of them, those that travel: a hot page is reported also when it was not written
  std::size_t hot_pages = 0;      // of the guest, when the epoch ended
  std::size_t zero_pages = 0;
  std::size_t disk_writes = 0;
  std::size_t disk_bytes = 0;
  std::size_t sent_bytes = 0;  // pages, state and disk writes
  Duration encode{};
  Duration ack_latency{};       // from the guest's resume to the ack
  std::size_t gate_frames = 0;  // waiting when the ack came
  bool full_transfer = false;   // the first epoch after one
  bool ended = false;           // the guest is over at its end
};

// How the peer's image gets to the present.
enum class SessionStart {
  kCatchUp,  // it is whole, and the next epochs build on it
  kResync,   // what may differ is sent over it
  kFull,     // everything is
};
const char* name_of(SessionStart start);

// What the session tells its owner, on its loop, from within a call. The owner must not destroy the session from within; every other call
// of the session is allowed there.
class PrimaryEvents {
 public:
  virtual ~PrimaryEvents() = default;
  // The handshake is done.
  virtual void session_up(Session session, Term term, Incarnation peer, SessionStart start) = 0;
  // The peer holds all of `at`. The first in a session makes its image whole.
  virtual void epoch_committed(Session session, CommittedEpoch at, const EpochReport& report) = 0;
  // The session is over; start() again when it shall go on.
  virtual void session_broken(const std::string& reason) = 0;
  // The peer refused the handshake or an epoch; the session is over. `peer_promise`: its floor, where that is why; else 0.
  virtual void session_refused(Term peer_promise, const std::string& reason) = 0;
  // final_epoch() is done: the guest stands at the end of `at`, which the peer holds. The gate may still hold permitted frames.
  virtual void final_epoch_committed(CommittedEpoch at) = 0;
  // It is not; the guest runs.
  virtual void final_epoch_failed(const std::string& reason) = 0;
  // At the end of `at` these pages were not the same in the peer's image: they are sent again with the next epoch.
  virtual void pages_differ(CommittedEpoch at, const std::vector<PageIndex>& pages) = 0;
  // All of memory was compared once more.
  virtual void scrubbed(const ScrubReport& report, bool verification) = 0;
};

struct PrimaryStart {
  Session session;  // random, new for each start
  Term term;
  Incarnation peer;  // the only one to be talked to
};

struct PrimaryStats {
  std::uint64_t sessions = 0;
  std::uint64_t full_transfers = 0;
  std::uint64_t catch_ups = 0;  // sessions that went on without one
  std::uint64_t epochs_sent = 0;
  std::uint64_t epochs_committed = 0;
  std::uint64_t epochs_aborted = 0;
  std::uint64_t epochs_put_off = 0;    // epochs that could not end when they should, for want of room
  std::uint64_t pauses_in_chunks = 0;  // dirty sets larger than the staging pool
  std::uint64_t foreign_messages = 0;  // of another peer, term, session or incarnation: dropped
  std::uint64_t corrupt_messages = 0;
  std::uint64_t resyncs = 0;  // transfers of what may differ
  std::uint64_t transfer_bytes = 0;
};

// A full transfer or resync under way, or the latest one.
struct TransferProgress {
  bool under_way = false;
  bool resync = false;
  std::uint64_t bytes_sent = 0;  // of pages and disks
  std::uint64_t bytes_left = 0;  // at most, by what is known now: pages that are dirtied meanwhile come on top
  Instant began;
  Duration took{};  // so far, or in all
};

class PrimarySession {
 public:
  // References outlive the session. `disks` in the order of the machine's disks, equal on both nodes.
  PrimarySession(PrimaryConfig config, CheckpointSource& source, EgressGate& gate, Link& link, StagingPool& staging,
                 std::vector<DiskStream*> disks, const Clock& clock, PrimaryEvents& events);
  // Gives back pages and resumes the guest if it stands in an unfinished pause.
  ~PrimarySession();
  PrimarySession(const PrimarySession&) = delete;
  PrimarySession& operator=(const PrimarySession&) = delete;

  // Before a session, on a peer's image known to equal the guest's present state, `at` (a switchover just now): tracks from here, so that
  // the first start() catches up. The guest must stand. Holds for resume_within.
  Result<void> begin_from(CommittedEpoch at, Instant now);

  // Asks the peer for a session until it answers. Ends a running one without a word.
  void start(const PrimaryStart& start, Instant now);
  // Ends the session, if there is one; no event. A guest that stands after a final epoch goes on standing.
  void stop(Instant now);
  // stop(), and forgets the peer at once: dirty tracking and the disks' streams end. Before the machine is no longer to be touched.
  void forget();
  // The running session goes on in a higher term; without one, nothing.
  void raise_term(Term term, Instant now);

  // For a switchover: pauses the guest, sends the last epoch and leaves the guest standing; an event says how it ended. Only one at a time;
  // fails at once when no session is up and whole.
  void final_epoch(Instant now);
  // After final_epoch(), done or under way: the guest runs on here. Harmless otherwise.
  Result<void> resume_guest(Instant now);

  // The guest has ended by itself and is over (CheckpointSource::ended()): the epoch that says so ends as soon as there is room. Its epochs
  // go on at their pace, with next to nothing in them, so that a peer sees progress and may come and go as ever.
  void guest_ended(Instant now);
  // The guest was started anew and stands: it runs once the open epoch has ended, so that what it sends belongs to the next one; outside of
  // epochs (no session, or a full transfer under way) at once. A failed resume ends in an error, or in the session's break.
  Result<void> resume_rebooted(Instant now);

  // Compares all of memory and the machine's state with the peer's image, as epochs end from now on; scrubbed() tells what came of it.
  // kRefused when there is no session with a whole image. One that is under way begins anew; with the session it ends untold.
  Result<void> verify();
  bool verifying() const { return scrub_.verifying(); }

  // A message of kinds 1-31, decoded by the owner.
  void receive(const DecodedMessage& message, Instant now);
  // The gate's first frame of `epoch` waits: EgressGate::on_output(), passed on to this loop.
  void output_waits(Epoch epoch, Instant now);
  void writable(Instant now) { tick(now); }  // the link has room again
  void tick(Instant now);
  // When tick() is due next.
  Instant next_tick() const { return next_tick_; }

  // In a session whose first whole epoch is committed.
  bool is_protecting() const { return phase_ == Phase::kEpochs && first_committed_; }
  bool is_up() const { return phase_ == Phase::kTransfer || phase_ == Phase::kEpochs; }
  Epoch committed() const { return window_.committed(); }
  const PrimaryStats& stats() const { return stats_; }
  // `now`: as of then. The disks' holes count as what they are called to be until they are found.
  TransferProgress transfer_progress(Instant now) const;
  EpochPacer::Report pacing() const { return pacer_.report(); }
  std::uint64_t stale_acks() const { return window_.stale_acks(); }
  const ScrubStats& scrub_stats() const { return scrub_.stats(); }

 private:
  enum class Phase { kIdle, kHello, kTransfer, kEpochs };
  enum class Final { kNone, kWanted, kSent, kDone };
  // An epoch sent and not acked: the record of what it held.
  struct InFlight {
    CommittedEpoch at;
    DirtyHarvest harvest;
    std::vector<std::vector<DiskWrite>> writes;  // per disk
    std::vector<std::size_t> release_bytes;      // per disk, at the ack
    EpochReport report;
    Instant resumed_at;
    std::optional<Duration> output_waited;  // for the epoch's end; nullopt: there was none
  };
  // What a peer may lack of a transfer that it has not confirmed with an epoch: in addition to what is dirty and in flight.
  struct Owed {
    PageSet pages;
    std::vector<ExtentMap> extents;  // per disk
  };
  // Kept after a session: what this peer's image can be caught up from. The epochs in in_flight_ belong to it.
  struct Retained {
    Incarnation peer;  // 0: whoever holds `base`
    CommittedEpoch base;
    Instant until;
  };
  // Kept after that: where this peer's image may differ, in tracked pages and the disks' maps.
  struct Behind {
    Incarnation peer;                // 0: whoever holds one of `epochs`
    std::vector<Epoch> epochs;       // the image that it held was one of these,
    bool broken_off = false;         // or was being overwritten by us
    std::vector<ExtentMap> extents;  // per disk: what its map does not have
    Instant until;
  };
  struct Transfer;

  // primary_session.cpp: life, handshake, incoming
  void send_hello(Instant now);
  void on_welcome(const Welcome& welcome, Instant now);
  void on_refuse(const Refuse& refuse, Instant now);
  void on_ack(const Envelope& from, Instant now);
  void on_checked(const Envelope& from, const Checked& checked, Instant now);
  bool can_catch_up(const Welcome& welcome) const;
  void catch_up(Epoch base, Instant now);
  void end_session(Instant now);
  void break_session(const std::string& reason, Instant now);
  void forget_peer();
  // Books in-flight epochs up to `epoch` as held by the peer; returns their reports.
  std::vector<std::pair<CommittedEpoch, EpochReport>> settle(Epoch epoch, Instant now);
  void post(MessageKind kind, Epoch epoch, std::span<const std::byte> payload, std::vector<OwnedBytes> bulk = {});
  bool flush();  // true when the outbox is empty
  Instant due(Instant now) const;

  // primary_resync.cpp: what a peer lacks
  bool can_resync(const Welcome& welcome) const;
  void fall_behind(Instant now);
  Owed still_owed();
  void end_transfer(Instant now);

  // primary_transfer.cpp: the transfer
  void begin_transfer(Instant now, bool resync, Epoch base);
  void run_transfer(Instant now);
  bool within_rate(Instant now) const;
  void count_transferred(std::size_t bytes);
  bool send_some_pages();
  void send_chunks(Instant now);
  void send_writes_since();
  void on_progress(const Progress& progress, Instant now);

  // primary_epochs.cpp: ending epochs
  void run_epochs(Instant now);
  bool has_room() const;
  void end_epoch(Instant now);
  void run_capture(Instant now);
  void finish_capture(Instant now);
  void drop_capture();
  void send_pages(StagedPages staged);
  void send_disk_writes(std::uint16_t disk, std::span<const DiskWrite> writes);
  void fail_final(const std::string& reason);

  const PrimaryConfig config_;
  CheckpointSource& source_;
  EgressGate& gate_;
  Link& link_;
  StagingPool& staging_;
  const std::vector<DiskStream*> disks_;
  const Clock& clock_;
  PrimaryEvents& events_;

  Phase phase_ = Phase::kIdle;
  PrimaryStart start_;
  Instant hello_at_;
  Instant next_tick_ = Instant::max();
  std::deque<Message> outbox_;  // built, and not yet taken by the link
  AckWindow window_;
  EpochPacer pacer_;
  std::deque<InFlight> in_flight_;
  std::optional<Retained> retained_;
  std::optional<Behind> behind_;
  std::optional<Owed> owed_;  // from a transfer's end until its first epoch is acked
  Scrub scrub_;
  std::vector<std::vector<DiskWrite>> unsent_writes_;  // per disk: taken from the stream, and older than what is in it now
  bool tracking_ = false;
  HotPages hot_;
  bool first_committed_ = false;

  // The epoch being sent.
  std::unique_ptr<Transfer> transfer_;
  std::unique_ptr<EpochCapture> capture_;
  EpochDigest digest_;
  EpochReport report_;
  Epoch sending_;
  Epoch base_;                           // what it builds on; 0 after a transfer
  std::optional<Instant> output_since_;  // of the epoch that ends
  bool put_off_ = false;                 // it should have ended, and there was no room
  bool in_chunks_ = false;               // its pages don't fit into staging at once
  Final final_ = Final::kNone;
  Epoch final_epoch_;
  bool resume_at_boundary_ = false;  // the guest stands, started anew
  std::string not_ended_;            // why the latest try to end the epoch failed; told once
  TransferProgress progress_;
  PrimaryStats stats_;
};

}  // namespace understudy
