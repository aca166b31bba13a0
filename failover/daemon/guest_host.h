// The guest's side of a node: machine, sessions, gate, disks and tap, on threads of their own, steered by the node's actions.
//
// Threading: every function is called on the node's loop and returns at once; the work is done on the session loop (which may wait for
// vCPUs and peers) and the egress loop (which writes to the tap). What comes of it is reported back as inputs, on the node's loop.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "failover/daemon/config.h"
#include "failover/daemon/console.h"
#include "failover/daemon/disk_health.h"
#include "failover/daemon/status.h"
#include "failover/daemon/store_thread.h"
#include "failover/daemon/timeline.h"
#include "failover/daemon/verification.h"
#include "failover/node_io.h"
#include "net/base/event_loop.h"
#include "net/base/result.h"
#include "net/zmq_context.h"
#include "replication/durable_image.h"

namespace understudy {

// What the status shows of the guest's side.
struct GuestNumbers {
  Epoch open_epoch;
  Epoch committed_epoch;
  Status::Gate gate;
  Status::EpochNumbers epochs;
  Status::Pacing pacing;
  std::string guest;  // "not started", "warm", "running", "paused", or what stopped it
  std::vector<DiskReading> disks;
  LinkNumbers link;       // replication's
  DurableStatus durable;  // of a secondary
  Status::Scrub scrub;
  Status::Transfer transfer;
  std::uint64_t corrupt_messages = 0;  // of the peer, on the replication link, that failed their checks
};

// Of the guest's memory: what it is asked to give back, and what it says it did.
struct BalloonBytes {
  std::uint64_t target = 0;
  std::uint64_t actual = 0;
};

class GuestHost {
 public:
  struct Dependencies {
    const DaemonConfig& config;  // outlives the host, as do all of these
    const Clock& clock;
    EventLoop& node_loop;
    std::shared_ptr<ZmqContext> zmq;
    StoreThread& store;
    Timeline& timeline;
    NodeIncarnation self;
    CommittedEpoch spoiled{};           // as stored: cuts up to there can't be started from
    std::function<void(Input)> report;  // on the node's loop
  };

  // Opens tap, disks, /dev/kvm and the replication link, and builds the warm machine: what is missing is told here.
  static Result<std::unique_ptr<GuestHost>> create(Dependencies dependencies);
  virtual ~GuestHost() = default;

  virtual void carry_out(const action::BootGuest& action) = 0;
  virtual void carry_out(const action::TakeOver& action) = 0;
  virtual void carry_out(const action::FinishGuest& action) = 0;
  virtual void carry_out(const action::ResumeGuest& action) = 0;
  virtual void carry_out(const action::RestartGuest& action) = 0;
  virtual void carry_out(const action::RecoverGuest& action) = 0;
  virtual void carry_out(const action::StopGuest& action) = 0;
  virtual void carry_out(const action::StartSession& action) = 0;
  virtual void carry_out(const action::RaiseSessionTerm& action) = 0;
  virtual void carry_out(const action::StopSession& action) = 0;
  virtual void carry_out(const action::AcceptSessions& action) = 0;
  virtual void carry_out(const action::RefuseSessions& action) = 0;
  virtual void carry_out(const action::SetGate& action) = 0;
  virtual void carry_out(const action::AnnounceAddress& action) = 0;
  // Before the promise is synced: from now on the secondary session acks nothing below it.
  virtual void promise(Term promised) = 0;

  // What the guest writes to its serial console. Any thread.
  virtual std::shared_ptr<ConsoleBacklog> console() const = 0;
  // Offers input to the console; `taken` is called on the node's loop with how much of it the guest took.
  virtual void type(std::vector<std::byte> input, std::function<void(std::size_t)> taken) = 0;
  // Asks the guest to give back so much memory, if any is named; `told` is called on the node's loop with what holds then.
  virtual void balloon(std::optional<std::uint64_t> target_bytes, std::function<void(const Result<BalloonBytes>&)> told) = 0;

  // Presses the guest's power button; `told` is called on the node's loop: false when the guest does not listen to it now, and then the
  // press waits until it does.
  virtual void press_power_button(std::function<void(const Result<bool>&)> told) = 0;

  // Compares all of the guest's memory and state with the peer's image, while it runs: as PrimarySession::verify(). `told` is called on the
  // node's loop, once, with what was found, or why it could not be told.
  virtual void verify(std::function<void(const Result<Verification>&)> told) = 0;

  // Calls `answered` on the node's loop once the session loop came by: evidence that it turns.
  virtual void answer(std::function<void()> answered) = 0;

  // Any thread.
  virtual GuestNumbers numbers() const = 0;
  // Committed while this node was primary, of this number and above, oldest first; the latest EpochStats::kWindow are kept.
  virtual std::vector<EpochLine> epochs(Epoch from) const = 0;
};

}  // namespace understudy
