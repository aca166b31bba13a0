#include "failover/daemon/watchdog_keeper.h"

#include <algorithm>

#include "net/base/log.h"

namespace understudy {

namespace {
constexpr Duration kLongest = std::chrono::seconds{10};
}  // namespace

Result<std::unique_ptr<WatchdogKeeper>> WatchdogKeeper::start(EventLoop& loop, const std::optional<DaemonConfig::WatchdogDevice>& device,
                                                              GuestHost& guest, std::function<std::string()> unfit) {
  std::vector<std::unique_ptr<Watchdog>> watchdogs;
  if (auto manager = ServiceManager::of_environment()) {
    manager->ready();
    watchdogs.push_back(std::move(manager));
  }
  if (device) {
    US_ASSIGN(auto opened, open_watchdog(device->device, device->timeout));
    log(Severity::kWarning, "watchdog armed: this host is reset when all is not well for so long",
        {{"device", device->device.string()}, {"ms", to_ms(opened->period())}});
    watchdogs.push_back(std::move(opened));
  }
  return std::make_unique<WatchdogKeeper>(loop, std::move(watchdogs), guest, std::move(unfit));
}

WatchdogKeeper::WatchdogKeeper(EventLoop& loop, std::vector<std::unique_ptr<Watchdog>> watchdogs, GuestHost& guest,
                               std::function<std::string()> unfit)
    : loop_{loop},
      watchdogs_{std::move(watchdogs)},
      guest_{guest},
      unfit_{std::move(unfit)},
      period_{kLongest},
      turned_at_{loop.clock().now()} {
  for (const auto& watchdog : watchdogs_) period_ = std::min(period_, watchdog->period());
  if (!watchdogs_.empty()) tick();
}

WatchdogKeeper::~WatchdogKeeper() {
  *alive_ = false;
  loop_.cancel(timer_);
  for (const auto& watchdog : watchdogs_) watchdog->disarm();
}

// Four times a period: one that is late is not the end.
void WatchdogKeeper::tick() {
  if (!std::exchange(turning_, true))
    guest_.answer([this, alive = alive_] {
      if (!*alive) return;
      turning_ = false;
      turned_at_ = loop_.clock().now();
    });
  const std::string trouble = reason_not_to_pet(loop_.clock().now() - turned_at_, unfit_(), period_ / 2);
  if (trouble.empty() != trouble_.empty())
    log(trouble.empty() ? Severity::kInfo : Severity::kError, trouble.empty() ? "watchdog petted again" : "watchdog not petted any more",
        {{"reason", trouble}});
  trouble_ = trouble;
  if (trouble.empty())
    for (const auto& watchdog : watchdogs_) watchdog->pet();
  timer_ = loop_.call_at(loop_.clock().now() + period_ / 4, [this] { tick(); });
}

}  // namespace understudy
