#include "failover/daemon/console_client.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <poll.h>
#include <span>
#include <string>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>
#include <sys/signalfd.h>
#include <zmq.hpp>

#include "failover/daemon/operator_socket.h"
#include "net/payload.h"
#include "net/zmq_context.h"

namespace understudy {
namespace {

using SteadyClock = std::chrono::steady_clock;

// The daemon answers within a second, with nothing if need be.
constexpr auto kAnswerPatience = std::chrono::seconds{5};
// A guest whose serial port is full takes the rest later.
constexpr auto kInputRetry = std::chrono::milliseconds{20};
constexpr std::size_t kMaxInputBytes = 1024;  // of one request
constexpr std::size_t kMaxTypedAhead = 4096;  // then the terminal waits
constexpr std::size_t kWriteBytes = 512;

// Waits until `fd` takes output; false when to leave first.
bool wait_writable(int fd, int stop) {
  std::array<pollfd, 2> polled{{{fd, POLLOUT, 0}, {stop, POLLIN, 0}}};
  while (true) {
    if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) return false;
    if ((polled[1].revents & POLLIN) != 0) return false;
    if (polled[0].revents != 0) return true;
  }
}

class Attachment {
 public:
  Attachment(const std::filesystem::path& path, ConsoleTerminal terminal)
      : path_{path}, terminal_{terminal}, socket_{context_->get(), zmq::socket_type::dealer} {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::immediate, true);
    socket_.connect(operator_endpoint(path));
  }

  Result<ConsoleEnd> run() {
    while (true) {
      if (!output_asked_at_) {
        OperatorCall call{schema::OperatorRequest::Command::CONSOLE};
        call.console_from = next_;
        if (send(call)) output_asked_at_ = SteadyClock::now();
      }
      if (!typed_.empty() && !input_asked_ && SteadyClock::now() >= input_at_) {
        OperatorCall call{schema::OperatorRequest::Command::CONSOLE};
        call.console_input.assign(typed_.begin(), typed_.begin() + static_cast<std::ptrdiff_t>(std::min(typed_.size(), kMaxInputBytes)));
        input_asked_ = send(call);
      }
      const short wanted = input_open_ && typed_.size() < kMaxTypedAhead ? ZMQ_POLLIN : 0;
      std::array<zmq::pollitem_t, 3> polled{
          {{socket_.handle(), 0, ZMQ_POLLIN, 0}, {nullptr, terminal_.stop, ZMQ_POLLIN, 0}, {nullptr, terminal_.in, wanted, 0}}};
      zmq::poll(polled.data(), wanted != 0 ? 3 : 2, kInputRetry);
      if ((polled[1].revents & ZMQ_POLLIN) != 0) return ConsoleEnd::kStopped;
      if (wanted != 0 && polled[2].revents != 0 && !read_typed()) return ConsoleEnd::kDetached;
      US_TRY(receive());
      if (stopped_) return ConsoleEnd::kStopped;
      if (SteadyClock::now() - output_asked_at_.value_or(started_) > kAnswerPatience)
        return Error{ErrorCode::kTimeout, "console of the guest: understudyd at " + path_.string() + " does not answer any more"};
    }
  }

 private:
  bool send(const OperatorCall& call) {
    const auto bytes = encode_call(call);
    if (!socket_.send(zmq::message_t{}, zmq::send_flags::sndmore | zmq::send_flags::dontwait)) return false;
    return socket_.send(zmq::buffer(bytes.data(), bytes.size()), zmq::send_flags::dontwait).has_value();
  }

  // False: the detach key.
  bool read_typed() {
    std::array<char, 512> keys;
    const auto got = ::read(terminal_.in, keys.data(), keys.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return true;
    if (got <= 0) {
      input_open_ = false;
      return true;
    }
    const std::span read{keys.data(), static_cast<std::size_t>(got)};
    if (std::ranges::find(read, kConsoleDetachKey) != read.end()) return false;
    const auto bytes = std::as_bytes(read);
    typed_.insert(typed_.end(), bytes.begin(), bytes.end());
    return true;
  }

  Result<void> receive() {
    while (true) {
      zmq::message_t delimiter;
      if (!socket_.recv(delimiter, zmq::recv_flags::dontwait)) return {};
      if (!delimiter.more()) continue;
      zmq::message_t reply;
      if (!socket_.recv(reply)) return {};
      const std::span<const std::byte> bytes{static_cast<const std::byte*>(reply.data()), reply.size()};
      US_TRY(read_payload<schema::OperatorReply>(bytes, [this](schema::OperatorReply::Reader read) { return take(read); }));
    }
  }

  Result<void> take(schema::OperatorReply::Reader reply) {
    if (!reply.getOk()) return Error{ErrorCode::kRefused, reply.getSentence().cStr()};
    const auto console = reply.getConsole();
    if (console.getForInput()) {
      const std::size_t taken = std::min<std::size_t>(console.getTaken(), typed_.size());
      typed_.erase(typed_.begin(), typed_.begin() + static_cast<std::ptrdiff_t>(taken));
      input_asked_ = false;
      if (taken == 0) input_at_ = SteadyClock::now() + kInputRetry;
      return {};
    }
    output_asked_at_.reset();
    if (next_ != 0 && console.getFrom() > next_)
      show_text(fmt::format("\r\n[understudy: {} bytes of output lost]\r\n", console.getFrom() - next_));
    const auto output = console.getOutput();
    next_ = console.getFrom() + output.size();
    show(std::as_bytes(std::span{output.begin(), output.size()}));
    started_ = SteadyClock::now();
    return {};
  }

  void show_text(const std::string& text) { show(std::as_bytes(std::span{text})); }
  void show(std::span<const std::byte> bytes) {
    while (!bytes.empty() && !stopped_) {
      // In small pieces, so that a terminal that was stopped (Ctrl-S) still lets a signal end this.
      if (!wait_writable(terminal_.out, terminal_.stop)) {
        stopped_ = true;
        return;
      }
      const auto wrote = ::write(terminal_.out, bytes.data(), std::min(bytes.size(), kWriteBytes));
      if (wrote < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      stopped_ = wrote <= 0;
      if (!stopped_) bytes = bytes.subspan(static_cast<std::size_t>(wrote));
    }
  }

  const std::filesystem::path path_;
  const ConsoleTerminal terminal_;
  const std::shared_ptr<ZmqContext> context_ = ZmqContext::create();
  zmq::socket_t socket_;
  std::uint64_t next_ = 0;
  std::optional<SteadyClock::time_point> output_asked_at_;
  SteadyClock::time_point started_ = SteadyClock::now();  // or since when the daemon owes an answer
  std::vector<std::byte> typed_;
  bool input_open_ = true;
  bool input_asked_ = false;
  SteadyClock::time_point input_at_{};
  bool stopped_ = false;
};

}  // namespace

RawTerminal::RawTerminal(int fd) : fd_{fd} {
  termios now{};
  if (::tcgetattr(fd_, &now) < 0) return;  // no terminal
  before_ = now;
  ::cfmakeraw(&now);
  ::tcsetattr(fd_, TCSANOW, &now);
}

RawTerminal::~RawTerminal() {
  if (before_) ::tcsetattr(fd_, TCSANOW, &*before_);
}

Result<UniqueFd> take_stop_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) ::sigaddset(&signals, number);
  if (::sigprocmask(SIG_BLOCK, &signals, nullptr) < 0) return Error::from_errno("block the signals that end a process");
  ::signal(SIGPIPE, SIG_IGN);
  UniqueFd fd{::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK)};
  if (!fd) return Error::from_errno("watch for the signals that end a process");
  return fd;
}

Result<ConsoleEnd> attach_console(const std::filesystem::path& socket, ConsoleTerminal terminal) {
  std::error_code ignored;
  if (!std::filesystem::is_socket(socket, ignored))
    return Error{ErrorCode::kUnavailable, "console of the guest: no socket at " + socket.string() + "; is the daemon running?"};
  try {
    return Attachment{socket, terminal}.run();
  } catch (const zmq::error_t& error) {
    return Error::from_errno("console of the guest at " + socket.string(), error.num());
  }
}

}  // namespace understudy
