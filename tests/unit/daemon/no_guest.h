// A guest's side without a guest, for tests of what stands above it.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "failover/daemon/guest_host.h"

namespace understudy {

// It answers what it was told to.
class NoGuest final : public GuestHost {
 public:
  void carry_out(const action::BootGuest&) override {}
  void carry_out(const action::TakeOver&) override {}
  void carry_out(const action::FinishGuest&) override {}
  void carry_out(const action::ResumeGuest&) override {}
  void carry_out(const action::RestartGuest&) override {}
  void carry_out(const action::RecoverGuest&) override {}
  void carry_out(const action::StopGuest&) override {}
  void carry_out(const action::StartSession&) override {}
  void carry_out(const action::RaiseSessionTerm&) override {}
  void carry_out(const action::StopSession&) override {}
  void carry_out(const action::AcceptSessions&) override {}
  void carry_out(const action::RefuseSessions&) override {}
  void carry_out(const action::SetGate&) override {}
  void carry_out(const action::AnnounceAddress&) override {}
  void promise(Term) override {}
  std::shared_ptr<ConsoleBacklog> console() const override { return console_; }
  void type(std::vector<std::byte> input, std::function<void(std::size_t)> taken) override { taken(input.size()); }
  void balloon(std::optional<std::uint64_t> target, std::function<void(const Result<BalloonBytes>&)> told) override {
    told(BalloonBytes{target.value_or(0), 0});
  }
  void press_power_button(std::function<void(const Result<bool>&)> told) override {
    ++presses;
    told(listens);
  }
  void verify(std::function<void(const Result<Verification>&)> told) override { told(verification); }
  void answer(std::function<void()> answered) override {
    ++answers;
    answered();
  }
  GuestNumbers numbers() const override { return {}; }
  std::vector<EpochLine> epochs(Epoch) const override { return {}; }

  int presses = 0;
  int answers = 0;
  Result<bool> listens = true;
  Result<Verification> verification = Verification{};

 private:
  const std::shared_ptr<ConsoleBacklog> console_ = std::make_shared<ConsoleBacklog>();
};

}  // namespace understudy
