// The daemon's local socket for its operator: requests come in, each is answered once, now or later. ZeroMQ over a Unix socket.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "failover/daemon/console.h"
#include "failover/daemon/control_access.h"
#include "failover/daemon/operator.capnp.h"
#include "failover/daemon/preflight.h"
#include "failover/daemon/status.h"
#include "failover/daemon/verification.h"
#include "failover/flight_log.h"
#include "net/base/event_loop.h"
#include "net/base/result.h"

namespace understudy {

struct OperatorCall {
  OperatorCall(schema::OperatorRequest::Command which) : command{which} {}  // most are no more than their command

  schema::OperatorRequest::Command command;
  std::uint64_t console_from = 0;
  std::vector<std::byte> console_input;
  std::optional<std::uint64_t> balloon_mib;
  std::uint64_t from = 0;  // of the flight recorder, or the first epoch
  std::string by;          // at most kMaxOperatorWords bytes, as `reason`
  std::string reason;
  std::optional<Duration> length;  // of a hold
};
inline constexpr std::size_t kMaxOperatorWords = 200;

struct OperatorAnswer {
  bool ok = false;
  std::string sentence;
  Status status;
  // A console's step: output, or how much of the input was taken.
  struct Console {
    ConsoleOutput output;
    std::optional<std::size_t> taken;
  };
  std::optional<Console> console = std::nullopt;
  std::vector<FlightEvent> events{};
  std::vector<std::byte> chunk{};  // as FlightDb::chunk() gives it
  std::optional<Preflight> preflight{};
  std::optional<Verification> verification{};
  std::vector<EpochLine> epochs{};
};

// Loop-owned.
class OperatorServer {
 public:
  using Answer = std::function<void(const OperatorAnswer&)>;
  // Called for each well-formed request; `answer` may be called later, once, on the same loop. Dropped answers leave the client to its
  // deadline.
  using Handler = std::function<void(const OperatorCall& call, Answer answer)>;

  // Listens at `path`. Only whom `access` admits is served, by the kernel's word (SO_PEERCRED); others get one sentence, and are counted.
  // The file lets others than its owner connect only where `access` admits any. A socket left by a dead daemon is replaced; a live one is
  // refused.
  static Result<std::unique_ptr<OperatorServer>> create(EventLoop& loop, const std::filesystem::path& path, const ControlAccess& access,
                                                        Handler handler);
  virtual ~OperatorServer() = default;
};

// Asks the daemon at `path`. kUnavailable when nobody listens there, kTimeout when no answer came within `deadline`. Blocks.
Result<void> ask_daemon(const std::filesystem::path& path, const OperatorCall& call, Duration deadline,
                        const std::function<void(schema::OperatorReply::Reader)>& answered);

// For a client with a socket of its own: where the daemon listens, and a request's bytes.
std::string operator_endpoint(const std::filesystem::path& path);
std::vector<std::byte> encode_call(const OperatorCall& call);

}  // namespace understudy
