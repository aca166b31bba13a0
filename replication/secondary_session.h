// The secondary's end of the epoch protocol: answers the handshake, stages and verifies epochs, acks, applies.
//
//  - An epoch is acked only when all of it arrived, its digest fits, and the machine would take its state; then it is applied in one step,
//    before anything else is read. What is not whole is thrown away whole.
//  - The session of a lower term than the promise is refused, and nothing of it is acked any more.
//  - During a full transfer pages go straight to the image, which is then no epoch, until the first one commits.
//  - The ack of an epoch waits while the disks are too far behind; so the primary's memory bounds ours.
//
// Loop-owned: no thread, lock, socket or clock inside. Only while the guest does not run here.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/restore.h"
#include "net/base/clock.h"
#include "net/base/ids.h"
#include "net/codec.h"
#include "net/link.h"
#include "replication/disk_stream.h"
#include "replication/epoch_store.h"
#include "replication/messages.h"
#include "vmm/checkpoint_source.h"

namespace understudy {

struct SecondaryConfig {
  PairId pair;
  NodeId node = NodeId::kB;
  Incarnation incarnation;
  // Whether a guest of `theirs` can go on on `ours`: the reason when not. (vmm/fingerprint.h has the machine's.)
  std::function<Result<void>(const MachineFingerprint& theirs, const MachineFingerprint& ours)> compatible;
  std::size_t max_disk_backlog_bytes = std::size_t{64} << 20;
  // Whether the ack of what is held whole may leave; empty: always. It is asked again with each tick.
  std::function<bool(CommittedEpoch)> may_ack{};
  std::size_t max_epoch_disk_bytes = std::size_t{512} << 20;
};

// On the session's loop, from within a call; the session must not be destroyed from within.
class SecondaryEvents {
 public:
  virtual ~SecondaryEvents() = default;
  virtual void session_up(Session session, Term term, Incarnation peer) = 0;
  // A full transfer begins: the image held so far is no whole epoch from now on.
  virtual void image_overwritten() = 0;
  // This node holds all of `at`; its ack is on the way or about to be. To be put into the store, which must not block. `ended`: not empty
  // when the guest is over at its end, and then how it ended.
  virtual void epoch_committed(Session session, CommittedEpoch at, const std::string& ended) = 0;
  // Part of an epoch or transfer arrived: a sign of life, no progress.
  virtual void activity() = 0;
  virtual void session_broken(const std::string& reason) = 0;
};

// What a takeover starts from. Memory is already in the image.
struct TakeoverImage {
  CommittedEpoch at;
  OwnedBytes state;   // for CheckpointTarget::restore()
  std::string ended;  // not empty: the guest is over and must not be restored, only started anew
};

struct SecondaryStats {
  std::uint64_t sessions = 0;
  std::uint64_t full_transfers = 0;
  std::uint64_t epochs_committed = 0;
  std::uint64_t epochs_thrown_away = 0;  // begun, and not whole
  std::uint64_t acks = 0;
  std::uint64_t acks_held_back = 0;  // the disks were behind
  std::uint64_t refusals = 0;
  std::uint64_t foreign_messages = 0;  // of another session, incarnation or a lower term: dropped
  std::uint64_t corrupt_messages = 0;
  std::uint64_t pages_compared = 0;
  std::uint64_t pages_differing = 0;  // of them: not what the primary has
};

class SecondarySession {
 public:
  // References outlive the session. Begins refusing everything, with no image.
  SecondarySession(SecondaryConfig config, CheckpointTarget& target, Link& link, std::vector<DiskSink*> disks, SecondaryEvents& events);
  ~SecondarySession();
  SecondarySession(const SecondarySession&) = delete;
  SecondarySession& operator=(const SecondarySession&) = delete;

  // Takes sessions of `floor` and above, from now on and until refuse().
  void accept(Term floor);
  // Not, or no longer, a secondary: ends a running session. After this no epoch commits here and nothing is acked.
  void refuse(const std::string& reason);
  // From now on nothing below `promised` is acked or taken. Never lowers.
  void promise(Term promised);
  // The target's memory and these bytes are `at`, whole: a paused primary's after a switchover.
  void adopt_image(CommittedEpoch at, OwnedBytes state);

  // Throws away what is not whole, and gives what a takeover starts from; the session is over and refuses from now on. kRefused when no
  // whole epoch is held, or when a disk failed (then it says which).
  Result<TakeoverImage> prepare_takeover();

  // A message of kinds 1-31, decoded by the owner.
  void receive(const DecodedMessage& message, Instant now);
  // Sends acks that waited for the disks or the link. Call every few milliseconds while a session is up; cheap.
  void tick(Instant now);
  void writable(Instant now) { tick(now); }

  bool is_up() const { return session_.has_value(); }
  // The image equals one whole epoch.
  bool image_whole() const { return whole_; }
  // The newest epoch held whole; (0, 0) when none.
  CommittedEpoch committed() const { return committed_; }
  // The machine's at that epoch.
  const OwnedBytes& state() const { return state_; }
  Term promised() const { return floor_; }
  const SecondaryStats& stats() const { return stats_; }

 private:
  struct Running {
    Session id;
    Term term;
    Incarnation peer;
    bool begun = false;  // Begin arrived
    bool full = false;   // in a full transfer
  };

  void on_hello(const DecodedMessage& message);
  Result<void> check_hello(const Hello& hello, const Envelope& from) const;
  void on_begin(const DecodedMessage& message);
  void on_pages(const DecodedMessage& message);
  void on_disk(const DecodedMessage& message);
  void on_manifest(const DecodedMessage& message);
  void on_check_pages(const DecodedMessage& message);
  bool check_begun(const DecodedMessage& message);
  void commit(Epoch epoch, std::string ended);
  void follow(Term term);
  void refuse_term(Term term);
  void reject(Epoch epoch, const Error& error);
  void drop_session();
  void end_session(const std::string& reason);
  void send_due();
  bool send(MessageKind message, Term term, Session session, Epoch epoch, std::span<const std::byte> payload);
  bool disks_behind() const;
  std::optional<std::string> failed_disk() const;

  const SecondaryConfig config_;
  CheckpointTarget& target_;
  Link& link_;
  const std::vector<DiskSink*> disks_;
  SecondaryEvents& events_;
  std::vector<std::uint64_t> disk_bytes_;

  bool accepting_ = false;
  std::string refusal_;  // why not
  Term floor_;
  std::optional<Running> session_;
  // The latest that ended here: one that is over never begins again, or a repeated hello and begin would overwrite the image that it left.
  std::array<Session, 8> over_{};
  std::size_t next_over_ = 0;
  EpochStage stage_;
  bool whole_ = false;
  CommittedEpoch committed_;
  OwnedBytes state_;
  Incarnation overwritten_by_;  // not whole since this primary's transfer began; 0 while it is whole, or was never anything
  std::string ended_;           // of the image held
  std::optional<Epoch> ack_due_;
  struct CheckedAt {
    Epoch epoch;
    Checked answer;
  };
  std::deque<CheckedAt> checked_due_;
  bool ack_was_held_ = false;
  std::uint64_t parts_applied_ = 0;  // of a full transfer
  std::uint64_t parts_told_ = 0;
  SecondaryStats stats_;
};

}  // namespace understudy
