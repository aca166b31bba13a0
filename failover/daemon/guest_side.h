// The guest's side of a node, as its session loop sees it: machine, disks, gate and the session of the role it has.
//
// Loop-owned by the session loop, which may wait: for vCPUs in a pause, for the kernel in a restore. The node's loop never waits for it.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "failover/daemon/cut_thread.h"
#include "failover/daemon/egress.h"
#include "failover/daemon/epoch_stats.h"
#include "failover/daemon/guest_host.h"
#include "net/zmq_link.h"
#include "replication/disk_image.h"
#include "replication/primary_session.h"
#include "replication/replicated_disk.h"
#include "replication/secondary_disk.h"
#include "replication/secondary_session.h"
#include "vmm/machine.h"

namespace understudy {

class GuestSide final : private PrimaryEvents, private SecondaryEvents {
 public:
  struct Dependencies {
    const DaemonConfig& config;
    const Clock& clock;
    EventLoop& loop;
    std::shared_ptr<ZmqContext> zmq;
    StoreThread& store;
    Timeline& timeline;
    NodeIncarnation self;
    CommittedEpoch spoiled{};  // as stored at the start
    std::shared_ptr<ConsoleBacklog> console;
    std::function<void(Input)> report;  // any thread
  };

  // Opens everything. `egress` outlives the side.
  static Result<std::unique_ptr<GuestSide>> create(Dependencies dependencies, Egress& egress);
  ~GuestSide();
  GuestSide(const GuestSide&) = delete;
  GuestSide& operator=(const GuestSide&) = delete;

  void boot_guest(Term term);
  void take_over(const action::TakeOver& action);
  void finish_guest();
  void resume_guest(Term term);
  void restart_guest(Term term);
  void recover_guest(Term term);
  void stop_guest(const std::string& reason);
  void start_session(const action::StartSession& action);
  void raise_session_term(Term term);
  void stop_session();
  void accept_sessions(const action::AcceptSessions& action);
  void refuse_sessions();
  void set_gate(const action::SetGate& action, std::optional<Instant> confirmed_since);
  void promise(Term promised);
  std::size_t type(ConstBytes input);
  Result<BalloonBytes> balloon(std::optional<std::uint64_t> target_bytes);
  Result<bool> press_power_button();
  // `told` is called once, on this loop.
  void verify(std::function<void(Result<Verification>)> told);

  // Any thread.
  GuestNumbers numbers() const;
  std::vector<EpochLine> epochs(Epoch from) const;

 private:
  struct Disk {
    std::shared_ptr<DiskImage> image;
    std::shared_ptr<ReplicatedDisk> guests;  // as the guest of this host uses it
    std::unique_ptr<SecondaryDisk> peers;    // as the peer's epochs reach it
  };

  GuestSide(Dependencies dependencies, Egress& egress)
      : deps_{std::move(dependencies)}, egress_{egress}, restarts_{deps_.config.vm.restart} {}
  Result<void> open_disks();
  Result<void> open_cut();
  Result<void> build_machine();
  Result<void> open_link();
  void ensure_primary();
  void ensure_secondary();
  void drop_secondary();
  void cut_answered();
  Result<void> rebuild_keeping_memory();
  void guest_runs(Term term);
  // guest_end.cpp
  void guest_ended(const MachineEvent& event);
  Result<void> start_anew();
  void stay_ended(std::string ended);
  void show_guest(std::string state);
  void show_committed(CommittedEpoch at);
  void watch_first_instruction(Term term, unsigned attempts_left);
  void wait_for_empty_gate(CommittedEpoch at, Instant deadline);

  // Sessions.
  void receive(const Message& message);
  void count_corrupt(std::uint64_t more);
  void writable();
  void tick();
  void rearm();
  void end_verifications(const Result<Verification>& found);
  void show_link();
  Status::Pacing show_pacing();
  void show_durable();
  template <class Call>
  void with_primary(Call call) {
    if (primary_) call(*primary_);
    rearm();
  }

  // PrimaryEvents, SecondaryEvents
  void session_up(Session session, Term term, Incarnation peer, SessionStart start) override;
  void epoch_committed(Session session, CommittedEpoch at, const EpochReport& report) override;
  void session_refused(Term peer_promise, const std::string& reason) override;
  void final_epoch_committed(CommittedEpoch at) override;
  void final_epoch_failed(const std::string& reason) override;
  void pages_differ(CommittedEpoch at, const std::vector<PageIndex>& pages) override;
  void scrubbed(const ScrubReport& report, bool verification) override;
  void session_up(Session session, Term term, Incarnation peer) override;
  void image_overwritten() override;
  void epoch_committed(Session session, CommittedEpoch at, const std::string& ended) override;
  void activity() override;
  void session_broken(const std::string& reason) override;  // of either

  Instant now() const { return deps_.clock.now(); }

  const Dependencies deps_;
  Egress& egress_;
  std::shared_ptr<GuestMemory> memory_;
  std::vector<Disk> disks_;  // fixed once open, and so are the images: numbers() asks them from any thread
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<StagingPool> staging_;
  std::unique_ptr<ZmqLink> link_;
  std::unique_ptr<PrimarySession> primary_;
  std::unique_ptr<CutThread> cut_;
  std::optional<CommittedEpoch> stored_cut_;  // that this process found, and nothing has spoiled since
  std::unique_ptr<DurableImage> durable_;     // with secondary_, which uses it
  std::unique_ptr<SecondarySession> secondary_;
  std::optional<CommittedEpoch> final_epoch_;  // the guest stands at its end, and the peer holds it
  Term promised_;
  RestartPolicy restarts_;
  unsigned reboots_ = 0;
  std::string broken_;                                                    // why KVM gave up on the guest
  std::vector<std::function<void(Result<Verification>)>> verifications_;  // who waits for the one under way
  EventLoop::TimerId timer_ = 0;
  EventLoop::TimerId link_timer_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  std::string budget_broken_;    // as it was last told in the log
  std::uint64_t malformed_ = 0;  // messages that are not of this pair and version
  mutable std::mutex numbers_mutex_;
  GuestNumbers numbers_;  // guarded by numbers_mutex_
  EpochStats epochs_;     // guarded by numbers_mutex_
};

}  // namespace understudy
