// A fast model of session, gate and guest: whole images by reference, epochs resent until acked, breaks and refusals as in the real one.
#pragma once

#include <deque>
#include <memory>

#include "tests/sim/guest_part.h"

namespace understudy::sim {

class ModelGuest final : public GuestPart {
 public:
  explicit ModelGuest(Surroundings surroundings) : GuestPart{std::move(surroundings)} { epoch_turn(); }

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
  bool guest_exists() const override { return guest_.exists; }
  bool holds_image() const override { return image_whole_; }

 private:
  struct Guest {
    bool exists = false;
    bool running = false;
    std::string ended{};  // how, once it is over
    std::shared_ptr<History> history = std::make_shared<History>();
  };
  struct Outgoing {  // as primary
    bool active = false;
    bool up = false;
    Session session;
    Term term;
    Incarnation peer;
    bool based = false;
    Epoch base;      // the first epoch comes after it
    Epoch peer_has;  // what the first epoch builds on, without a full transfer
    Epoch sent;
    Epoch acked;
    std::deque<GuestImage> unacked;
    Instant acked_at;
    Instant full_until;  // the first transfer takes a while
    bool full = true;
    bool overwritten = false;
  };
  struct Incoming {  // as secondary
    bool accepting = false;
    Term floor;
    Session session;
    Term term;
    Epoch newest;              // committed in it
    bool overwriting = false;  // a full transfer has begun, and not ended
  };

  void send(SessionMessage message);
  void on_welcome(const SessionMessage& message);
  void on_hello(const SessionMessage& message);
  void on_epoch(const SessionMessage& message);
  void on_ack(const SessionMessage& message);
  void overwrite();
  void epoch_turn();
  void capture();
  void send_epoch(Epoch epoch, const GuestImage& image);
  void resend();
  void emit_output();
  void release(const OutputFrame& frame);
  void open_gate_to(Epoch epoch);
  GuestImage image_now() const;
  void start_anew(Term term);
  void finish_guest_when_committed(Instant deadline);

  Guest guest_;
  Outgoing out_;
  Incoming in_;
  GuestImage image_;
  bool image_whole_ = false;
  EpochPosition final_epoch_;
  bool guest_broken_ = false;
  std::uint64_t starts_ = 0;  // orders to start the guest; a stop voids the latest
  action::SetGate gate_;
  std::deque<OutputFrame> gate_queue_;
  Epoch open_epoch_{1};
};

}  // namespace understudy::sim
