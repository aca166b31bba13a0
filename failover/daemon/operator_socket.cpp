#include "failover/daemon/operator_socket.h"

#include <unistd.h>

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <zmq.hpp>

#include "failover/orders_codec.h"
#include "net/base/log.h"
#include "net/payload.h"
#include "net/refusals.h"
#include "net/zmq_context.h"

namespace understudy {

namespace {

constexpr std::size_t kMaxRequestBytes = 4096;
constexpr int kListenBacklog = 16;
constexpr std::uint16_t kOperatorVersion = 1;

std::span<const std::byte> bytes_of(const zmq::message_t& message) {
  return {static_cast<const std::byte*>(message.data()), message.size()};
}

class ZmqOperatorServer final : public OperatorServer {
 public:
  ZmqOperatorServer(EventLoop& loop, ControlAccess access, Handler handler)
      : loop_{loop}, access_{std::move(access)}, handler_{std::move(handler)}, socket_{context_->get(), zmq::socket_type::router} {
    socket_.set(zmq::sockopt::linger, 200);  // time for a last answer to leave
    socket_.set(zmq::sockopt::maxmsgsize, std::int64_t{kMaxRequestBytes});
    socket_.set(zmq::sockopt::rcvhwm, kListenBacklog);
    socket_.set(zmq::sockopt::backlog, kListenBacklog);
  }
  ~ZmqOperatorServer() override {
    *alive_ = false;
    loop_.unwatch(fd_);
  }

  Result<void> listen(const std::filesystem::path& path) {
    try {
      socket_.bind(operator_endpoint(path));
    } catch (const zmq::error_t& error) {
      return Error::from_errno("listen for operators at " + path.string(), error.num());
    }
    const mode_t mode = access_.admits_others() ? 0666 : 0600;  // who gets through is still asked for each request
    if (::chmod(path.c_str(), mode) < 0) return Error::from_errno("set who may reach " + path.string());
    fd_ = socket_.get(zmq::sockopt::fd);
    US_TRY(loop_.watch(fd_, EPOLLIN, [this](std::uint32_t) { drain(); }));
    loop_.post([this, alive = alive_] {
      if (*alive) drain();
    });
    return {};
  }

 private:
  // The socket's fd is edge-triggered in effect: whatever is ready must be taken before going back to wait.
  void drain() {
    while ((socket_.get(zmq::sockopt::events) & ZMQ_POLLIN) != 0) {
      std::vector<zmq::message_t> frames;
      bool more = true;
      while (more) {
        zmq::message_t frame;
        if (!socket_.recv(frame, zmq::recv_flags::dontwait)) break;
        more = frame.more();
        frames.push_back(std::move(frame));
      }
      // REQ's frames: the client's identity, an empty delimiter, the request. Anything else is dropped.
      if (frames.size() == 3 && frames[1].size() == 0) serve(std::move(frames[0]), frames[2]);
    }
  }

  void serve(zmq::message_t identity, const zmq::message_t& request) {
    auto answer = [this, alive = alive_, client = std::make_shared<zmq::message_t>(std::move(identity))](const OperatorAnswer& given) {
      if (*alive) reply(*client, given);
    };
    const auto peer = peer_of_message(request);
    const ControlRole role = peer ? access_.role_of(*peer) : ControlRole::kNobody;
    const std::string who = peer ? fmt::format("user {}", peer->user) : "somebody whom the kernel does not name";
    // Before any of it is decoded.
    if (role == ControlRole::kNobody)
      return refuse(who + " may not use this daemon: ask root, or see [control] operators and viewers", answer);
    const auto call = decode_call(request);
    if (!call) {
      answer({.ok = false, .sentence = call.error().text(), .status = {}});
      return;
    }
    if (role < role_for(call->command))
      return refuse(who + " is a viewer of this daemon, and that is an operator's command: ask an operator, or see [control] operators",
                    answer);
    handler_(*call, std::move(answer));
  }

  // ZeroMQ asked the kernel when the connection was accepted: what came by it came from that process.
  static std::optional<ControlPeer> peer_of_message(const zmq::message_t& request) {
    const char* const address = zmq_msg_gets(const_cast<zmq_msg_t*>(request.handle()), "Peer-Address");
    return address == nullptr ? std::nullopt : parse_control_peer(address);
  }

  void refuse(std::string why, const Answer& answer) {
    refusals_.add({.count = 1, .last = why, .last_at = loop_.clock().now()});
    log(Severity::kWarning, "operator's request refused", {{"reason", why}, {"count", refusals_.count}});
    answer({.ok = false, .sentence = std::move(why), .status = {}});
  }

  static Result<OperatorCall> decode_call(const zmq::message_t& request) {
    return read_payload<schema::OperatorRequest>(bytes_of(request), [](schema::OperatorRequest::Reader reader) -> Result<OperatorCall> {
      if (reader.getVersion() != kOperatorVersion)
        return Error{ErrorCode::kUnsupportedVersion, fmt::format("the command speaks version {} of the operator protocol, this daemon {}: "
                                                                 "install the same version of both",
                                                                 reader.getVersion(), kOperatorVersion)};
      OperatorCall read{reader.getCommand()};
      read.console_from = reader.getConsole().getFrom();
      const auto input = reader.getConsole().getInput();
      const auto bytes = std::as_bytes(std::span{input.begin(), input.size()});
      read.console_input.assign(bytes.begin(), bytes.end());
      if (reader.getBalloonMib() >= 0) read.balloon_mib = static_cast<std::uint64_t>(reader.getBalloonMib());
      read.from = reader.getFrom();
      read.by = clean_text(reader.getBy(), kMaxOperatorWords);
      read.reason = clean_text(reader.getReason(), kMaxOperatorWords);
      if (const std::uint64_t seconds = reader.getForSeconds(); seconds != 0) {
        const auto most = std::chrono::ceil<std::chrono::seconds>(kMaxHoldLength);
        read.length = std::chrono::seconds{std::min(seconds, static_cast<std::uint64_t>(most.count()))};
      }
      return read;
    });
  }

  void reply(zmq::message_t& identity, const OperatorAnswer& answer) {
    const auto bytes = build_payload<schema::OperatorReply>([&](schema::OperatorReply::Builder out) {
      out.setVersion(kOperatorVersion);
      out.setOk(answer.ok);
      out.setSentence(answer.sentence);
      write_status(answer.status, out.initStatus());
      auto control = out.getStatus().initControl();
      control.setRefused(refusals_.count);
      control.setLastRefused(refusals_.last);
      auto flight = out.initFlight();
      auto events = flight.initEvents(static_cast<unsigned>(answer.events.size()));
      for (unsigned i = 0; i < events.size(); ++i) write_flight_event(answer.events[i], events[i]);
      flight.setChunk({reinterpret_cast<const kj::byte*>(answer.chunk.data()), answer.chunk.size()});
      auto epochs = out.initEpochs(static_cast<unsigned>(answer.epochs.size()));
      for (unsigned i = 0; i < epochs.size(); ++i) write_epoch(answer.epochs[i], epochs[i]);
      if (answer.preflight) write_preflight(*answer.preflight, out.initPreflight());
      if (answer.verification) write_verification(*answer.verification, out.initVerification());
      if (!answer.console) return;
      auto console = out.initConsole();
      console.setFrom(answer.console->output.from);
      const auto& bytes_out = answer.console->output.bytes;
      console.setOutput(kj::arrayPtr(reinterpret_cast<const kj::byte*>(bytes_out.data()), bytes_out.size()));
      console.setForInput(answer.console->taken.has_value());
      console.setTaken(static_cast<std::uint32_t>(answer.console->taken.value_or(0)));
    });
    try {
      // A client that went away, or a full pipe: its own deadline tells it.
      socket_.send(identity, zmq::send_flags::dontwait | zmq::send_flags::sndmore);
      socket_.send(zmq::message_t{}, zmq::send_flags::dontwait | zmq::send_flags::sndmore);
      socket_.send(zmq::buffer(bytes.data(), bytes.size()), zmq::send_flags::dontwait);
    } catch (const zmq::error_t&) {
    }
    drain();  // sending may have swallowed the fd's edge
  }

  EventLoop& loop_;
  const ControlAccess access_;
  const Handler handler_;
  Refusals refusals_;
  const std::shared_ptr<ZmqContext> context_ = ZmqContext::create();
  zmq::socket_t socket_;
  int fd_ = -1;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace

Result<std::unique_ptr<OperatorServer>> OperatorServer::create(EventLoop& loop, const std::filesystem::path& path,
                                                               const ControlAccess& access, Handler handler) {
  // bind() replaces a socket file that is there; ask whether its daemon lives before we take its place.
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) {
    const auto living =
        ask_daemon(path, schema::OperatorRequest::Command::STATUS, std::chrono::milliseconds{300}, [](schema::OperatorReply::Reader) {});
    if (living)
      return Error{ErrorCode::kRefused, "listen for operators at " + path.string() +
                                            ": another understudyd answers there; stop it, or give this one another [state] socket"};
  }
  auto server = std::make_unique<ZmqOperatorServer>(loop, access, std::move(handler));
  US_TRY(server->listen(path));
  return std::unique_ptr<OperatorServer>{std::move(server)};
}

std::string operator_endpoint(const std::filesystem::path& path) { return "ipc://" + path.string(); }

std::vector<std::byte> encode_call(const OperatorCall& call) {
  return build_payload<schema::OperatorRequest>([&](schema::OperatorRequest::Builder out) {
    out.setVersion(kOperatorVersion);
    out.setCommand(call.command);
    out.setFrom(call.from);
    out.setBy(call.by);
    out.setReason(call.reason);
    if (call.length) out.setForSeconds(static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::seconds>(*call.length).count()));
    if (call.balloon_mib) out.setBalloonMib(static_cast<std::int64_t>(*call.balloon_mib));
    if (call.command != schema::OperatorRequest::Command::CONSOLE) return;
    auto console = out.initConsole();
    console.setFrom(call.console_from);
    console.setInput(kj::arrayPtr(reinterpret_cast<const kj::byte*>(call.console_input.data()), call.console_input.size()));
  });
}

Result<void> ask_daemon(const std::filesystem::path& path, const OperatorCall& call, Duration deadline,
                        const std::function<void(schema::OperatorReply::Reader)>& answered) {
  std::error_code ignored;
  if (!std::filesystem::is_socket(path, ignored))
    return Error{ErrorCode::kUnavailable, "ask understudyd at " + path.string() +
                                              ": no socket there; is the daemon running, and is this its "
                                              "[state] socket?"};
  if (::access(path.c_str(), R_OK | W_OK) < 0)
    return Error{
        ErrorCode::kRefused,
        fmt::format("ask understudyd at {}: this user may not: ask as root, or see [control] operators and viewers", path.string())};
  try {
    const auto context = ZmqContext::create();
    zmq::socket_t socket{context->get(), zmq::socket_type::req};
    const auto deadline_ms = static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(deadline).count());
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::immediate, true);
    socket.set(zmq::sockopt::sndtimeo, deadline_ms);
    socket.set(zmq::sockopt::rcvtimeo, deadline_ms);
    socket.connect(operator_endpoint(path));
    const auto request = encode_call(call);
    if (!socket.send(zmq::buffer(request.data(), request.size())))
      return Error{ErrorCode::kUnavailable,
                   "ask understudyd at " + path.string() + ": nobody listens there any more; is the daemon running?"};
    zmq::message_t reply;
    if (!socket.recv(reply))
      return Error{ErrorCode::kTimeout, fmt::format("ask understudyd at {}: no answer within {} ms", path.string(), deadline_ms)};
    return read_payload<schema::OperatorReply>(bytes_of(reply), [&](schema::OperatorReply::Reader reader) -> Result<void> {
      answered(reader);
      return {};
    });
  } catch (const zmq::error_t& error) {
    return Error::from_errno("ask understudyd at " + path.string(), error.num());
  }
}

}  // namespace understudy
