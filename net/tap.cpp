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

// What lies before each frame (Documentation/networking/tuntap.rst, IFF_VNET_HDR), of the size that virtio 1.x has.
struct VnetHeader {
  FrameOffload offload;
  std::uint16_t buffer_count = 0;
};
static_assert(sizeof(VnetHeader) == 12);

// Whether the kernel's taps finish checksums and segment TCP, for a guest that is given none of it yet.
bool enable_offloads(int fd) {
  int header_bytes = sizeof(VnetHeader);
  if (::ioctl(fd, TUNSETVNETHDRSZ, &header_bytes) < 0) return false;
  constexpr unsigned long kAll = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  return ::ioctl(fd, TUNSETOFFLOAD, kAll) == 0 && ::ioctl(fd, TUNSETOFFLOAD, 0UL) == 0;
}

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
      return Error{ErrorCode::kInvalid, what + "this interface is not a plain tap (mode tap, without multi_queue)"};
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

  unsigned known = 0;
  const bool offloads = options.offloads && ::ioctl(fd.get(), TUNGETFEATURES, &known) == 0 && (known & IFF_VNET_HDR) != 0;
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (offloads) request.ifr_flags |= IFF_VNET_HDR;
  std::copy(name.begin(), name.end(), request.ifr_name);
  if (::ioctl(fd.get(), TUNSETIFF, &request) < 0) return explain_attach(name, errno);
  if (offloads && !enable_offloads(fd.get()))
    return Error{ErrorCode::kUnsupportedVersion, "open tap " + name +
                                                     ": this kernel's taps have virtio headers, but not of 12 bytes with TCP " +
                                                     "segmentation (Linux 2.6.32 or newer is needed)"};
  return std::unique_ptr<Tap>{new Tap{name, std::move(fd), offloads}};
}

Result<void> Tap::set_receive_offloads(const Offloads& taken) {
  if (!offloads_)
    return taken == Offloads{} ? Result<void>{} : Error{ErrorCode::kInvalid, "tap " + name_ + ": it was opened without offloads"};
  unsigned long flags = 0;
  if (taken.checksum) flags |= TUN_F_CSUM;
  if (taken.tcp_ipv4) flags |= TUN_F_TSO4;
  if (taken.tcp_ipv6) flags |= TUN_F_TSO6;
  if (taken.ecn) flags |= TUN_F_TSO_ECN;
  if (::ioctl(fd_.get(), TUNSETOFFLOAD, flags) < 0) return io_error("set offloads");
  return {};
}

Result<void> Tap::send(const FrameOffload& offload, std::span<const std::byte> frame) {
  if (frame.size() < kEthernetHeaderBytes || frame.size() > kMaxFrameBytes)
    return Error{ErrorCode::kInvalid, "tap " + name_ + ": a frame of " + std::to_string(frame.size()) + " bytes"};
  VnetHeader header{.offload = offload};
  const std::array<iovec, 2> parts{iovec{&header, sizeof header}, iovec{const_cast<std::byte*>(frame.data()), frame.size()}};
  const auto used = std::span{parts}.subspan(offloads_ ? 0 : 1);
  for (;;) {
    if (::writev(fd_.get(), used.data(), static_cast<int>(used.size())) >= 0) return {};  // a tap takes a frame whole
    if (errno != EINTR) return io_error("send");
  }
}

Result<std::optional<ReceivedFrame>> Tap::receive(std::span<std::byte> buffer) {
  for (;;) {
    // One byte beyond the buffer shows a frame that does not fit.
    std::byte beyond{};
    VnetHeader header;
    const std::array<iovec, 3> parts{iovec{&header, sizeof header}, iovec{buffer.data(), buffer.size()}, iovec{&beyond, 1}};
    const auto used = std::span{parts}.subspan(offloads_ ? 0 : 1);
    const auto got = ::readv(fd_.get(), used.data(), static_cast<int>(used.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return std::optional<ReceivedFrame>{};
    if (got < 0) return io_error("receive");
    const std::size_t size = static_cast<std::size_t>(got) - (offloads_ ? sizeof header : 0);
    if (size <= buffer.size()) return std::optional{ReceivedFrame{size, header.offload}};
    ++oversized_frames_;
  }
}

// EIO: the interface is down; EBADFD: it was deleted; EINVAL: no frame, or no offload for this one (drivers/net/tun.c).
Error Tap::io_error(const char* operation) const {
  const std::string what = "tap " + name_ + ": " + operation;
  if (errno == EAGAIN || errno == ENOBUFS) return Error{ErrorCode::kBusy, "tap busy"};
  if (errno == EIO) return Error{ErrorCode::kUnavailable, what + ": the interface is down: `ip link set " + name_ + " up`"};
  if (errno == EBADFD || errno == ENODEV) return Error{ErrorCode::kUnavailable, what + ": the interface was deleted"};
  if (errno == EINVAL) return Error{ErrorCode::kInvalid, what + ": the kernel refuses the frame"};
  return Error::from_errno(what);
}

}  // namespace understudy
