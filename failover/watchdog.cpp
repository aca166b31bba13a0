#include "failover/watchdog.h"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include <linux/watchdog.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "net/base/unique_fd.h"

namespace understudy {

namespace {

class Device final : public Watchdog {
 public:
  Device(UniqueFd fd, Duration period) : fd_{std::move(fd)}, period_{period} {}
  void pet() override { write('\0'); }
  // The magic close: a driver that honours it stops when the device is closed after a 'V'.
  void disarm() override { write('V'); }
  Duration period() const override { return period_; }

 private:
  void write(char byte) { static_cast<void>(::write(fd_.get(), &byte, 1)); }

  const UniqueFd fd_;
  const Duration period_;
};

std::optional<std::uint64_t> number_in(const char* variable) {
  const char* const text = std::getenv(variable);
  if (text == nullptr) return std::nullopt;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), number);
  return error == std::errc{} && *end == '\0' ? std::optional{number} : std::nullopt;
}

}  // namespace

Result<std::unique_ptr<Watchdog>> open_watchdog(const std::filesystem::path& device, std::chrono::seconds timeout) {
  UniqueFd fd{::open(device.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd) return Error::from_errno("open the watchdog " + device.string());
  int seconds = static_cast<int>(timeout.count());
  if (::ioctl(fd.get(), WDIOC_SETTIMEOUT, &seconds) < 0 && errno != ENOTTY && errno != EINVAL && errno != EOPNOTSUPP)
    return Error::from_errno("set the watchdog " + device.string() + " to " + std::to_string(timeout.count()) + " s");
  return std::unique_ptr<Watchdog>{std::make_unique<Device>(std::move(fd), std::chrono::seconds{std::max(seconds, 1)})};
}

std::unique_ptr<ServiceManager> ServiceManager::of_environment() {
  const char* const socket = std::getenv("NOTIFY_SOCKET");
  if (socket == nullptr || (*socket != '/' && *socket != '@')) return nullptr;
  std::optional<Duration> period;
  const auto pid = number_in("WATCHDOG_PID");
  if (const auto us = number_in("WATCHDOG_USEC"); us && *us != 0 && (!pid || *pid == static_cast<std::uint64_t>(::getpid())))
    period = std::chrono::microseconds{*us};
  return std::make_unique<ServiceManager>(socket, period);
}

void ServiceManager::notify(const std::string& text) const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_.empty() || socket_.size() >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  if (socket_[0] == '@') address.sun_path[0] = '\0';  // the abstract namespace
  const UniqueFd fd{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
  // One that is full or gone hears the next.
  if (fd)
    static_cast<void>(::sendto(fd.get(), text.data(), text.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address), length));
}

std::string reason_not_to_pet(Duration since_session_loop, const std::string& unfit, Duration limit) {
  if (since_session_loop > limit)
    return "the session's loop has not answered for " + std::to_string(static_cast<std::int64_t>(to_ms(since_session_loop))) + " ms";
  return unfit;
}

}  // namespace understudy
