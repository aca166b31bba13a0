#include "failover/fence_agent.h"

#include <array>
#include <cctype>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "failover/child_process.h"
#include "net/base/unique_fd.h"

namespace understudy {

const char* name_of(FenceAction action) {
  switch (action) {
    case FenceAction::kOff:
      return "off";
    case FenceAction::kOn:
      return "on";
    case FenceAction::kStatus:
      return "status";
    case FenceAction::kMonitor:
      return "monitor";
  }
  return "unknown";
}

namespace {

constexpr std::size_t kMaxWordsBytes = 200;
constexpr int kStatusOff = 2;  // of `status`: the host is off

struct Pipe {
  UniqueFd read, write;
};
Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return Error::from_errno("run the fence agent: pipe");
  return Pipe{UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

class Agent final : public FenceAgent {
 public:
  Agent(EventLoop& loop, FenceAgentConfig config) : loop_{loop}, config_{std::move(config)} {}
  ~Agent() override {
    *alive_ = false;
    end_process();
  }

  void run(FenceAction action, Done done) override {
    if (pid_ > 0 || done_) return later(std::move(done), Error{ErrorCode::kBusy, "the fence agent runs already"});
    action_ = action;
    words_.clear();
    if (auto started = spawn(); !started) {
      end_process();
      return later(std::move(done), std::move(started.error()));
    }
    done_ = std::move(done);
    deadline_ = loop_.call_at(loop_.clock().now() + config_.deadline, [this] {
      finish(Error{ErrorCode::kTimeout, told() + "no answer within " + ms_text(config_.deadline)});
    });
  }

 private:
  static constexpr ChildGroup kGroup = ChildGroup::kOwn;

  std::string told() const { return "fence agent " + config_.command.front() + ", action " + name_of(action_) + ": "; }

  void later(Done done, Error error) {
    loop_.post([alive = alive_, done = std::move(done), error = std::move(error)] {
      if (*alive) done(error);
    });
  }

  Result<void> spawn() {
    std::string input;
    for (const std::string& option : config_.options) input += option + "\n";
    input += std::string{"action="} + name_of(action_) + "\n";
    US_ASSIGN(Pipe in, make_pipe());
    US_ASSIGN(Pipe out, make_pipe());
    // It fits into the pipe, or the agent is not started: nothing here waits for it to read.
    if (::fcntl(in.write.get(), F_SETFL, O_NONBLOCK) < 0 || ::fcntl(out.read.get(), F_SETFL, O_NONBLOCK) < 0)
      return Error::from_errno("run the fence agent: fcntl");
    if (::write(in.write.get(), input.data(), input.size()) != static_cast<ssize_t>(input.size()))
      return Error::from_errno("run the fence agent: its options");
    US_ASSIGN(pid_, start_child("run the fence agent " + config_.command.front(), config_.command,
                                {.in = in.read.get(), .out = out.write.get(), .error = out.write.get()}, kGroup));
    output_ = std::move(out.read);
    ended_ = UniqueFd{static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0))};
    if (!ended_) return Error::from_errno("run the fence agent: pidfd_open");
    US_TRY(loop_.watch(output_.get(), EPOLLIN, [this](std::uint32_t) { drain(); }));
    return loop_.watch(ended_.get(), EPOLLIN, [this](std::uint32_t) { reap(); });
  }

  // The last line that it wrote is kept.
  void drain() {
    std::array<char, 1024> bytes;
    while (true) {
      const ssize_t count = ::read(output_.get(), bytes.data(), bytes.size());
      if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (count <= 0) {
        loop_.unwatch(output_.get());
        output_.reset();
        return;
      }
      for (const char c : std::string_view{bytes.data(), static_cast<std::size_t>(count)}) {
        if (c == '\n') {
          line_ends_ = true;
          continue;
        }
        if (std::exchange(line_ends_, false)) words_.clear();
        if (words_.size() < kMaxWordsBytes) words_ += std::isprint(static_cast<unsigned char>(c)) != 0 ? c : '?';
      }
    }
  }

  void reap() {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) != pid_) return;
    if (output_) drain();
    reaped_ = true;
    const std::string said = words_.empty() ? "" : " (" + words_ + ")";
    if (WIFSIGNALED(status)) return finish(Error{ErrorCode::kFailed, told() + "killed by signal " + std::to_string(WTERMSIG(status))});
    const int code = WEXITSTATUS(status);
    if (code == 0) return finish(words_);
    if (action_ == FenceAction::kStatus && code == kStatusOff) return finish(Error{ErrorCode::kRefused, told() + "the host is off"});
    finish(Error{ErrorCode::kFailed, told() + "exit status " + std::to_string(code) + said});
  }

  void finish(Result<std::string> outcome) {
    end_process();
    const Done done = std::exchange(done_, nullptr);
    if (done) done(std::move(outcome));
  }

  void end_process() {
    loop_.cancel(deadline_);
    if (output_) loop_.unwatch(output_.get());
    if (ended_) loop_.unwatch(ended_.get());
    output_.reset();
    ended_.reset();
    if (pid_ > 0 && !reaped_) end_child(pid_, kGroup);
    pid_ = -1;
    reaped_ = false;
    line_ends_ = false;
  }

  EventLoop& loop_;
  const FenceAgentConfig config_;
  FenceAction action_ = FenceAction::kMonitor;
  Done done_;
  pid_t pid_ = -1;
  bool reaped_ = false;
  UniqueFd output_;
  UniqueFd ended_;  // readable once the process has ended
  std::string words_;
  bool line_ends_ = false;
  EventLoop::TimerId deadline_ = 0;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace

std::unique_ptr<FenceAgent> FenceAgent::create(EventLoop& loop, FenceAgentConfig config) {
  return std::make_unique<Agent>(loop, std::move(config));
}

}  // namespace understudy
