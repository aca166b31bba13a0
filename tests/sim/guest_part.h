// What of a host carries the guest: machine, gate and sessions. Behind one interface, so that a run takes a fast model or the real
// sessions.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "failover/node_io.h"
#include "net/link.h"
#include "tests/sim/engine.h"
#include "tests/sim/options.h"
#include "tests/sim/oracle.h"

namespace understudy::sim {

// What both ends of the modelled session say to each other.
struct SessionMessage {
  enum class Kind : std::uint8_t { kHello, kWelcome, kRefuse, kOverwrite, kEpoch, kAck } kind = Kind::kHello;
  Session session;
  Term term;
  Incarnation sender;
  Incarnation receiver;
  Epoch epoch;
  GuestImage image;   // kEpoch; kWelcome: what the secondary holds
  bool full = false;  // kEpoch: the first of a full transfer
  Epoch previous;     // kEpoch: builds on this one
};
using PeerMessage = std::variant<SessionMessage, Message>;

// What the host gives its guest part.
struct Surroundings {
  NodeIncarnation self;
  Engine& engine;
  Oracle& oracle;
  const Options& options;
  std::function<void(Input)> feed;
  std::function<void(Duration, std::function<void()>)> timer;  // waits while the process is stopped, gone when it is killed
  std::function<void(PeerMessage)> send;
  std::function<bool()> service_works;
  std::function<Term()> stored_term;
  std::function<void(const std::string&)> trace;
};

class GuestPart {
 public:
  explicit GuestPart(Surroundings surroundings) : host_{std::move(surroundings)} {}
  virtual ~GuestPart() = default;
  GuestPart(const GuestPart&) = delete;
  GuestPart& operator=(const GuestPart&) = delete;

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
  virtual void promise(Term promised) = 0;
  virtual void receive(const PeerMessage& message) = 0;

  // Faults, and what a guest does by itself.
  virtual void break_session() = 0;
  virtual void power_off() = 0;
  virtual void reboot() = 0;
  virtual void break_guest() = 0;  // KVM gives up
  void fail_next_restore(bool fails) { restore_fails_ = fails; }

  virtual bool guest_exists() const = 0;
  virtual bool holds_image() const = 0;

 protected:
  Random& random() { return host_.engine.random; }
  Instant now() const { return host_.engine.now(); }

  const Surroundings host_;
  bool restore_fails_ = false;
};

std::unique_ptr<GuestPart> make_model_guest(Surroundings surroundings);
std::unique_ptr<GuestPart> make_real_guest(Surroundings surroundings);

}  // namespace understudy::sim
