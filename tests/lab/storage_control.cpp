#include "tests/lab/storage_control.h"

#include <array>
#include <cstring>
#include <string_view>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

namespace understudy::lab {

namespace {

constexpr std::string_view kDone = "done";

Result<sockaddr_un> address_of(const std::filesystem::path& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.native().size() >= sizeof address.sun_path)
    return Error{ErrorCode::kInvalid, "socket " + socket.string() + ": its path is too long"};
  std::memcpy(address.sun_path, socket.c_str(), socket.native().size());
  return address;
}

// One message; empty when the other end is gone.
std::string_view receive(int fd, std::array<char, 64>& buffer) {
  const auto received = ::recv(fd, buffer.data(), buffer.size(), 0);
  return {buffer.data(), received > 0 ? static_cast<std::size_t>(received) : 0};
}

}  // namespace

Result<std::unique_ptr<StorageControl>> StorageControl::start(const std::filesystem::path& socket, AilingStorage& storage) {
  US_ASSIGN(const auto address, address_of(socket));
  UniqueFd listener{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
  const bool listens = listener && ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
                       ::listen(listener.get(), 4) == 0;
  if (!listens) return Error::from_errno("listen at " + socket.string());
  return std::unique_ptr<StorageControl>{new StorageControl{std::move(listener), storage}};
}

StorageControl::StorageControl(UniqueFd listener, AilingStorage& storage)
    : listener_{std::move(listener)}, storage_{storage}, thread_{[this] { run(); }} {}

StorageControl::~StorageControl() {
  ::shutdown(listener_.get(), SHUT_RDWR);  // accept() returns
  thread_.join();
}

// One order a connection.
void StorageControl::run() {
  while (true) {
    const UniqueFd order{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    if (!order) return;
    std::array<char, 64> buffer;
    const auto state = storage_state_of(receive(order.get(), buffer));
    if (!state) continue;
    storage_.set(*state);
    [[maybe_unused]] const auto sent = ::send(order.get(), kDone.data(), kDone.size(), MSG_NOSIGNAL);
  }
}

Result<void> order_storage(const std::filesystem::path& socket, StorageState state, Duration deadline) {
  const std::string operation = std::string{"order storage to be "} + name_of(state) + " at " + socket.string();
  US_ASSIGN(const auto address, address_of(socket));
  const UniqueFd order{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
  if (!order) return Error::from_errno(operation);
  const auto us = std::chrono::ceil<std::chrono::microseconds>(deadline).count();
  const timeval limit{.tv_sec = us / 1'000'000, .tv_usec = us % 1'000'000};
  ::setsockopt(order.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (::connect(order.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
    return Error{ErrorCode::kUnavailable, Error::from_errno(operation).text()};
  const std::string_view name = name_of(state);
  if (::send(order.get(), name.data(), name.size(), MSG_NOSIGNAL) < 0) return Error::from_errno(operation);
  std::array<char, 64> buffer;
  if (receive(order.get(), buffer) != kDone) return Error{ErrorCode::kTimeout, operation + ": no answer"};
  return {};
}

}  // namespace understudy::lab
