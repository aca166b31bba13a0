// One run of the demo: a protected pair under load, a fault, and the outcome.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "tests/lab/guest_service.h"
#include "tests/lab/lab_pair.h"
#include "tests/lab/outcome.h"

namespace understudy::lab {

struct DemoOptions {
  Fault fault = Fault::kKill;
  NodeId struck = NodeId::kA;                  // host-a runs the guest at first
  LabPair::Options pair;                       // guest image and ailing folder are filled in
  Duration before = std::chrono::seconds{4};   // under load, before the fault
  Duration after = std::chrono::seconds{5};    // the same, after the fault, or after the thaw
  Duration freeze = std::chrono::seconds{10};  // how long the frozen host stands still
  Duration away = std::chrono::seconds{3};     // how long the arbiter is away
  Duration links_away = std::chrono::seconds{10};
  Duration rough = std::chrono::seconds{60};  // how long times are rough
  Duration over = std::chrono::seconds{4};    // how long a guest that is over is left so
};

class Demo {
 public:
  // `say`: one line of progress.
  Demo(const Clock& clock, DemoOptions options, std::unique_ptr<GuestService> service, std::function<void(const std::string&)> say)
      : clock_{clock}, options_{std::move(options)}, say_{std::move(say)}, service_{std::move(service)} {}

  // An error: the run could not be made or judged. Inside tests/lab/lab, from its first network namespace.
  Result<Outcome> run();
  // After run(): what the daemons wrote.
  std::string logs(std::size_t lines_each) const { return pair_ ? pair_->logs(lines_each) : std::string{}; }

 private:
  Result<void> stay(Duration duration, Outcome* outcome) const;
  Result<void> strike_and_watch(Outcome& outcome);
  void wait_for_the_verdict(Outcome& outcome) const;
  void watch_the_end(Outcome& outcome) const;
  Result<void> bring_the_arbiter_back(Outcome& outcome);
  Result<void> bring_the_links_back(Outcome& outcome);
  Result<void> live_through_rough_times(Outcome& outcome) const;
  void let_the_intruder_try(Outcome& outcome) const;
  void wait_until_told(Outcome& outcome) const;
  void leave_alone(Outcome& outcome) const;
  void wait_until_settled(Outcome& outcome) const;
  void replay(Outcome& outcome) const;
  void compare(Outcome& outcome) const;
  Duration before() const;
  // A duration as it is on the usual machine, on this one.
  Duration here(Duration usual) const { return usual * options_.pair.slowness; }

  const Clock& clock_;
  const DemoOptions options_;
  const std::function<void(const std::string&)> say_;
  std::unique_ptr<LabPair> pair_;
  const std::unique_ptr<GuestService> service_;
};

}  // namespace understudy::lab
