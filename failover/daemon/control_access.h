// Who may say what at the daemon's control socket: the roles of this host's users.
//
// Names are looked up once, at the start: a lookup may wait for a directory service, and the node's loop must not. Immutable; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "failover/daemon/operator.capnp.h"
#include "failover/daemon/security.h"
#include "net/base/result.h"

namespace understudy {

enum class ControlRole : std::uint8_t { kNobody, kViewer, kOperator };

// The process at the other end, as the kernel knows it: SO_PEERCRED, unix(7).
struct ControlPeer {
  uid_t user = 0;
  gid_t group = 0;
};
// ZeroMQ's "Peer-Address" of a connection over a Unix socket: "localhost:<user>:<group>:<process>".
std::optional<ControlPeer> parse_control_peer(std::string_view address);

class ControlAccess {
 public:
  // Root and this process's user, and nobody else.
  ControlAccess();
  // kInvalid names a user or group that this host does not know. Blocks.
  static Result<ControlAccess> resolve(const ControlConfig& config);

  // A group counts when it is the peer's own, or when the peer's user was its member at the start.
  ControlRole role_of(const ControlPeer& peer) const;
  // Whether anybody else than root and this process's user may connect at all.
  bool admits_others() const;

 private:
  struct Names {
    std::set<uid_t> users;
    std::set<gid_t> groups;
    bool contain(const ControlPeer& peer) const { return users.contains(peer.user) || groups.contains(peer.group); }
  };
  static Result<void> add(const std::string& name, Names& to);

  Names operators_;
  Names viewers_;
  bool admits_others_ = false;
};

// What the command asks of whoever gives it. A command that is not known to change nothing is an operator's.
ControlRole role_for(schema::OperatorRequest::Command command);

}  // namespace understudy
