#include "failover/probe_process.h"

#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include <sys/epoll.h>

#include "failover/child_process.h"
#include "failover/probe_wire.h"
#include "net/base/log.h"
#include "net/base/unique_fd.h"

namespace understudy {

namespace {

class Watched final : public ProbeProcess {
 public:
  Watched(EventLoop& loop, ProbeProcessConfig config, Report report)
      : loop_{loop}, config_{std::move(config)}, report_{std::move(report)}, last_report_at_{loop.clock().now()} {}

  ~Watched() override {
    loop_.cancel(watchdog_);
    loop_.cancel(restart_);
    end_process();
  }

  Result<void> spawn() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) return Error::from_errno("start a probe: pipe");
    pipe_ = UniqueFd{ends[0]};
    const UniqueFd child_end{ends[1]};
    if (::fcntl(pipe_.get(), F_SETFL, O_NONBLOCK) < 0) return Error::from_errno("start a probe: fcntl");
    auto started =
        start_child("start the probe of the " + std::string{name_of(config_.path)}, config_.command, {.out = child_end.get()}, kGroup);
    if (!started) {
      pipe_.reset();
      return std::move(started.error());
    }
    pid_ = *started;
    received_ = 0;
    return loop_.watch(pipe_.get(), EPOLLIN, [this](std::uint32_t) { drain(); });
  }

  void watch_silence() {
    watchdog_ = loop_.call_at(loop_.clock().now() + config_.deadline / 4, [this] {
      const Instant now = loop_.clock().now();
      const Duration silence = now - last_report_at_;
      if (silence > config_.deadline) {
        report_({.path = config_.path,
                 .health = config_.silence,
                 .started_at = last_report_at_,
                 .completed_at = now,
                 .text = "no answer for " + std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(silence).count()) +
                         " ms: stuck in the kernel, or ended"});
      }
      watch_silence();
    });
  }

 private:
  static constexpr ChildGroup kGroup = ChildGroup::kOurs;

  void drain() {
    while (true) {
      const ssize_t count = ::read(pipe_.get(), record_.data() + received_, record_.size() - received_);
      if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (count <= 0) return ended();
      received_ += static_cast<std::size_t>(count);
      if (received_ < record_.size()) continue;
      received_ = 0;
      auto report = decode_probe(record_);
      if (!report || (report->path != config_.path && !config_.other_paths)) {
        log(Severity::kError, "probe answers nonsense",
            {{"path", name_of(config_.path)}, {"reason", report ? "a report of another path" : report.error().text()}});
        return ended();
      }
      last_report_at_ = std::max(last_report_at_, report->completed_at);
      report_(std::move(*report));
    }
  }

  void ended() {
    end_process();
    log(Severity::kWarning, "probe process ended; it is started again", {{"path", name_of(config_.path)}});
    restart_ = loop_.call_at(loop_.clock().now() + config_.restart_after, [this] {
      if (auto again = spawn(); !again) {
        log(Severity::kError, "probe not started", {{"reason", again.error().text()}});
        ended();
      }
    });
  }

  void end_process() {
    if (pipe_) loop_.unwatch(pipe_.get());
    pipe_.reset();
    if (pid_ > 0) end_child(pid_, kGroup);
    pid_ = -1;
  }

  EventLoop& loop_;
  const ProbeProcessConfig config_;
  const Report report_;
  Instant last_report_at_;
  UniqueFd pipe_;
  pid_t pid_ = -1;
  ProbeRecord record_{};
  std::size_t received_ = 0;
  EventLoop::TimerId watchdog_ = 0;
  EventLoop::TimerId restart_ = 0;
};

}  // namespace

Result<std::unique_ptr<ProbeProcess>> ProbeProcess::start(EventLoop& loop, ProbeProcessConfig config, Report report) {
  auto watched = std::make_unique<Watched>(loop, std::move(config), std::move(report));
  US_TRY(watched->spawn());
  watched->watch_silence();
  return std::unique_ptr<ProbeProcess>{std::move(watched)};
}

}  // namespace understudy
