// Sockets of the lab's client machine.
#pragma once

#include <cstdint>
#include <string>

#include "net/base/addresses.h"
#include "net/base/clock.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"

namespace understudy::lab {

enum class Transport : std::uint8_t { kUdp, kTcp };

// A non-blocking socket that belongs to `network_namespace`, wherever the caller is, connected to the guest's `server`:`port`. For TCP the
// connection may still be on its way: see wait_for().
Result<UniqueFd> open_client_socket(const std::string& network_namespace, Transport transport, Ipv4Address server, std::uint16_t port);

// Until the socket is ready for `events` (of poll) or `deadline` has passed; false: it has. An error of the socket counts as ready.
bool wait_for(const UniqueFd& socket, short events, const Clock& clock, Instant deadline);

// The socket's pending error, such as of a connection that failed; taken from it.
Result<void> socket_error(const UniqueFd& socket, const std::string& what);

}  // namespace understudy::lab
