// The guest's only process: echoes, takes and sends bytes on its network, and works on its disk, as it is told (guest_protocol.h); with
// load=1 on the command line, it is a load (guest_load.h).
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include "tests/benchmarks/guest_disk.h"
#include "tests/benchmarks/guest_load.h"
#include "tests/benchmarks/guest_protocol.h"

namespace understudy::bench {
namespace {

constexpr std::size_t kStreamBufferBytes = std::size_t{256} << 10;

void say(const std::string& text) {
  const std::string line = text + '\n';
  [[maybe_unused]] const auto written = ::write(STDOUT_FILENO, line.data(), line.size());
}

// Tells it, and stays: the kernel would panic when init ends.
[[noreturn]] void fail(const char* what) {
  say(std::string{kFailedLine} + what + ": " + std::strerror(errno));
  while (true) ::pause();
}

sockaddr_in address_of(const char* text, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (::inet_pton(AF_INET, text, &address.sin_addr) != 1) {
    errno = EINVAL;
    fail(text);
  }
  return address;
}

void bring_up_network(const char* address, const char* mask) {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("open a socket");
  ifreq request{};
  std::strcpy(request.ifr_name, "eth0");
  const auto set = [&](unsigned long what, const char* value) {
    const sockaddr_in given = address_of(value, 0);
    std::memcpy(&request.ifr_addr, &given, sizeof given);
    if (::ioctl(fd, what, &request) < 0) fail("set an address of eth0");
  };
  set(SIOCSIFADDR, address);
  set(SIOCSIFNETMASK, mask);
  if (::ioctl(fd, SIOCGIFFLAGS, &request) < 0) fail("read the flags of eth0");
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (::ioctl(fd, SIOCSIFFLAGS, &request) < 0) fail("bring up eth0");
  ::close(fd);
}

int bound_socket(int type, std::uint16_t port) {
  const int fd = ::socket(AF_INET, type | SOCK_CLOEXEC, 0);
  const sockaddr_in any = address_of("0.0.0.0", port);
  if (fd < 0 || ::bind(fd, reinterpret_cast<const sockaddr*>(&any), sizeof any) < 0) fail("bind a port");
  if (type == SOCK_STREAM && ::listen(fd, 4) < 0) fail("listen");
  return fd;
}

// Whether all of it went out.
bool send_all(int fd, const void* data, std::size_t bytes) {
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const auto sent = ::send(fd, from, bytes, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    from += sent;
    bytes -= static_cast<std::size_t>(sent);
  }
  return true;
}

void echo_datagrams(int fd) {
  char buffer[2048];
  while (true) {
    sockaddr_in from{};
    socklen_t from_bytes = sizeof from;
    const auto got = ::recvfrom(fd, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &from_bytes);
    if (got < 0) continue;
    ::sendto(fd, buffer, static_cast<std::size_t>(got), 0, reinterpret_cast<const sockaddr*>(&from), from_bytes);
  }
}

void echo(int fd) {
  char buffer[2048];
  while (true) {
    const auto got = ::recv(fd, buffer, sizeof buffer, 0);
    if (got <= 0 || !send_all(fd, buffer, static_cast<std::size_t>(got))) return;
  }
}

void take(int fd) {
  std::vector<char> buffer(kStreamBufferBytes);
  std::uint64_t total = 0;
  while (true) {
    const auto got = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (got < 0) return;
    if (got == 0) break;
    total += static_cast<std::uint64_t>(got);
  }
  send_all(fd, &total, sizeof total);
}

void give(int fd) {
  const std::vector<char> buffer(kStreamBufferBytes, 'b');
  while (send_all(fd, buffer.data(), buffer.size())) {
  }
}

void obey(int fd) {
  DiskOrder order;
  while (::recv(fd, &order, sizeof order, MSG_WAITALL) == static_cast<ssize_t>(sizeof order)) {
    const DiskAnswer answer = carry_out(order);
    if (!send_all(fd, &answer, sizeof answer)) return;
  }
}

// One connection after the other.
void serve(std::uint16_t port, void (*service)(int)) {
  std::thread{[listener = bound_socket(SOCK_STREAM, port), service] {
    while (true) {
      const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      service(fd);
      ::close(fd);
    }
  }}.detach();
}

void serve_network(const char* address) {
  bring_up_network(address, "255.255.255.0");
  std::thread{echo_datagrams, bound_socket(SOCK_DGRAM, kEchoPort)}.detach();
  serve(kEchoPort, echo);
  serve(kSinkPort, take);
  serve(kSourcePort, give);
  serve(kDiskPort, obey);
}

[[noreturn]] void run() {
  say(kInitLine);
  if (::mount("dev", "/dev", "devtmpfs", 0, nullptr) < 0) fail("mount /dev");
  // The kernel hands on what it does not know itself.
  if (std::getenv("load") != nullptr) {
    if (const char* const failed = start_load(); failed != nullptr) fail(failed);
  }
  if (const char* const address = std::getenv("guest_ip"); address != nullptr) serve_network(address);
  say(kReadyLine);
  while (true) ::pause();
}

}  // namespace
}  // namespace understudy::bench

int main() { understudy::bench::run(); }
