#include "net/tap.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

namespace understudy {

namespace {
constexpr std::size_t kEthernetHeaderBytes = 14;

Error explain_attach(const std::string& name, int error_number) {
  const std::string what = "open tap " + name + ": ";
  switch (error_number) {
    case EPERM:
    case EACCES:
      return Error{ErrorCode::kFailed, what + "no permission: make it this user's (`ip tuntap add dev " + name +
                                           " mode tap user NAME`) or run with CAP_NET_ADMIN"};
    case EBUSY:
      return Error{ErrorCode::kFailed, what + "in use by another process: stop that one, or give each guest a tap of its own"};
    case EINVAL:
      return Error{ErrorCode::kInvalid, what + "this interface is not a plain tap (mode tap, without multi_queue or vnet_hdr)"};
    default:
      return Error::from_errno("open tap " + name, error_number);
  }
}
}  // namespace

Result<std::unique_ptr<Tap>> Tap::open(const std::string& name, TapOptions options) {
  if (name.empty() || name.size() >= IFNAMSIZ || name.find_first_of("/ %") != std::string::npos)
    return Error{ErrorCode::kInvalid,
                 "tap name \"" + name + "\": it takes 1 to " + std::to_string(IFNAMSIZ - 1) + " characters, without space, / or %"};
  // TUNSETIFF would make a missing interface: one that is on no bridge, so that a spelling mistake became a silent guest.
  if (!options.create_if_missing && ::if_nametoindex(name.c_str()) == 0)
    return Error{ErrorCode::kUnavailable, "open tap " + name + ": no such interface: create it with `ip tuntap add dev " + name +
                                              " mode tap`, set it up, and put it on the service bridge"};
  UniqueFd fd{::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK)};
  if (!fd) return Error::from_errno("open /dev/net/tun (is the kernel's tun module loaded?)");

  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  std::copy(name.begin(), name.end(), request.ifr_name);
  if (::ioctl(fd.get(), TUNSETIFF, &request) < 0) return explain_attach(name, errno);
  return std::unique_ptr<Tap>{new Tap{name, std::move(fd)}};
}

Result<void> Tap::send(std::span<const std::byte> frame) {
  if (frame.size() < kEthernetHeaderBytes || frame.size() > kMaxFrameBytes)
    return Error{ErrorCode::kInvalid, "tap " + name_ + ": a frame of " + std::to_string(frame.size()) + " bytes"};
  for (;;) {
    if (::write(fd_.get(), frame.data(), frame.size()) >= 0) return {};  // a tap takes a frame whole
    if (errno != EINTR) return io_error("send");
  }
}

Result<std::optional<std::size_t>> Tap::receive(std::span<std::byte> buffer) {
  for (;;) {
    // One byte beyond the buffer shows a frame that does not fit.
    std::byte beyond{};
    const std::array<iovec, 2> parts{iovec{buffer.data(), buffer.size()}, iovec{&beyond, 1}};
    const auto got = ::readv(fd_.get(), parts.data(), static_cast<int>(parts.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return std::optional<std::size_t>{};
    if (got < 0) return io_error("receive");
    const auto size = static_cast<std::size_t>(got);
    if (size <= buffer.size()) return std::optional{size};
    ++oversized_frames_;
  }
}

// EIO: the interface is down; EBADFD: it was deleted (drivers/net/tun.c).
Error Tap::io_error(const char* operation) const {
  const std::string what = "tap " + name_ + ": " + operation;
  if (errno == EAGAIN || errno == ENOBUFS) return Error{ErrorCode::kBusy, "tap busy"};
  if (errno == EIO) return Error{ErrorCode::kUnavailable, what + ": the interface is down: `ip link set " + name_ + " up`"};
  if (errno == EBADFD || errno == ENODEV) return Error{ErrorCode::kUnavailable, what + ": the interface was deleted"};
  return Error::from_errno(what);
}

}  // namespace understudy
