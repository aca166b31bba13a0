// The real sessions and the real gate over a fake machine whose memory tells which guest it is, and that it is whole.
//
// The guest keeps one word on every page: a digest of all it has ever sent. So an image is a committed epoch exactly when all pages agree,
// and the digest is known. What the daemon's session loop does one after the other is done here in the same order, with delays.
#pragma once

#include <memory>
#include <optional>

#include "net/base/clock.h"
#include "net/packet_port.h"
#include "replication/primary_session.h"
#include "replication/secondary_session.h"
#include "tests/sim/guest_part.h"
#include "tests/support/fake_machine.h"

namespace understudy::sim {

class RealGuest final : public GuestPart, private PrimaryEvents, private SecondaryEvents {
 public:
  explicit RealGuest(Surroundings surroundings);
  ~RealGuest() override;

  void carry_out(const action::BootGuest& action) override;
  void carry_out(const action::TakeOver& action) override;
  void carry_out(const action::FinishGuest& action) override;
  void carry_out(const action::ResumeGuest& action) override;
  void carry_out(const action::RestartGuest& action) override;
  void carry_out(const action::RecoverGuest& action) override;
  void carry_out(const action::StopGuest& action) override;
  void carry_out(const action::StartSession& action) override;
  void carry_out(const action::RaiseSessionTerm& action) override;
  void carry_out(const action::StopSession& action) override;
  void carry_out(const action::AcceptSessions& action) override;
  void carry_out(const action::RefuseSessions& action) override;
  void carry_out(const action::SetGate& action) override;
  void promise(Term promised) override;
  void receive(const PeerMessage& any) override;
  void break_session() override;
  void power_off() override;
  void reboot() override;
  void break_guest() override;
  bool guest_exists() const override { return exists_; }
  bool holds_image() const override { return secondary_ && secondary_->image_whole(); }

 private:
  class EngineClock final : public Clock {
   public:
    explicit EngineClock(const Engine& engine) : engine_{engine} {}
    Instant now() const override { return engine_.now(); }

   private:
    const Engine& engine_;
  };
  // The way to the peer's session; the network keeps its order.
  class PeerLink final : public Link {
   public:
    explicit PeerLink(RealGuest& owner) : owner_{owner} {}
    Result<void> send(Message message) override;
    void on_message(std::function<void(Message)>) override {}
    void on_writable(std::function<void()>) override {}
    void on_connection(std::function<void(bool)>) override {}

   private:
    RealGuest& owner_;
  };
  // Where frames leave the host.
  class Port final : public PacketPort {
   public:
    explicit Port(RealGuest& owner) : owner_{owner} {}
    bool offloads() const override { return false; }
    Result<void> set_receive_offloads(const Offloads&) override { return {}; }
    Result<void> send(const FrameOffload& offload, std::span<const std::byte> frame) override;
    Result<std::optional<ReceivedFrame>> receive(std::span<std::byte>) override { return std::optional<ReceivedFrame>{}; }
    int fd() const override { return -1; }

   private:
    RealGuest& owner_;
  };

  // In order, each after a delay: the session loop.
  void post(Duration delay, std::function<void()> work);
  void turn();
  void live();
  void emit_output();
  void write_digest();
  void boot_anew();
  void resume_anew();
  void start_anew(Term term);
  std::optional<GuestImage> read_image(EpochPosition at) const;
  void ensure_primary();
  void ensure_secondary();
  void finish_when_empty(EpochPosition at, Instant deadline);
  void apply_gate(const action::SetGate& action, std::optional<Instant> confirmed_since);

  void session_up(Session session, Term term, Incarnation peer, SessionStart start) override;
  void epoch_committed(Session session, CommittedEpoch at, const EpochReport& report) override;
  void session_broken(const std::string& reason) override;
  void session_refused(Term peer_promise, const std::string& reason) override;
  void final_epoch_committed(CommittedEpoch at) override;
  void final_epoch_failed(const std::string& reason) override;
  void pages_differ(CommittedEpoch at, const std::vector<PageIndex>& pages) override;
  void scrubbed(const ScrubReport&, bool) override {}
  void session_up(Session session, Term term, Incarnation peer) override;
  void image_overwritten() override;
  void epoch_committed(Session session, CommittedEpoch at, const std::string& ended) override;
  void activity() override;

  EngineClock clock_;
  PeerLink link_{*this};
  Port port_{*this};
  fake::FakeMachine machine_;
  std::unique_ptr<EgressGate> gate_;
  std::unique_ptr<StagingPool> staging_;
  std::unique_ptr<PrimarySession> primary_;
  std::unique_ptr<SecondarySession> secondary_;
  bool exists_ = false;
  std::shared_ptr<History> history_ = std::make_shared<History>();
  std::uint64_t digest_ = 0;
  std::optional<EpochPosition> final_epoch_;
  Term promised_;
  Instant busy_until_;
  std::uint64_t muted_by_ = 0;
  std::optional<Instant> gap_seen_at_;
  unsigned to_lose_ = 0;  // messages
};

}  // namespace understudy::sim
