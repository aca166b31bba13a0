// The daemon's local socket for its operator: requests come in, each is answered once, now or later. ZeroMQ over a Unix socket.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "failover/daemon/operator.capnp.h"
#include "failover/daemon/status.h"
#include "net/base/event_loop.h"
#include "net/base/result.h"

namespace understudy {

struct OperatorAnswer {
  bool ok = false;
  std::string sentence;
  Status status;
};

// Loop-owned.
class OperatorServer {
 public:
  using Answer = std::function<void(const OperatorAnswer&)>;
  // Called for each well-formed request; `answer` may be called later, once, on the same loop. Dropped answers leave the client to its
  // deadline.
  using Handler = std::function<void(schema::OperatorRequest::Command command, Answer answer)>;

  // Listens at `path`, readable and writable by the owner only. A socket left by a dead daemon is replaced; a live one is refused.
  static Result<std::unique_ptr<OperatorServer>> create(EventLoop& loop, const std::filesystem::path& path, Handler handler);
  virtual ~OperatorServer() = default;
};

// Asks the daemon at `path`. kUnavailable when nobody listens there, kTimeout when no answer came within `deadline`. Blocks.
Result<void> ask_daemon(const std::filesystem::path& path, schema::OperatorRequest::Command command, Duration deadline,
                        const std::function<void(schema::OperatorReply::Reader)>& answered);

}  // namespace understudy
