#include "failover/daemon/console.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace understudy {
namespace {

// Output that comes in single characters is gathered for so long before it is handed out.
constexpr Duration kGather = std::chrono::milliseconds{5};

}  // namespace

void ConsoleBacklog::write(ConstBytes bytes) {
  std::function<void()> written;
  {
    const std::lock_guard lock{mutex_};
    const ConstBytes kept = bytes.size() > kBytes ? bytes.last(kBytes) : bytes;
    end_ += bytes.size() - kept.size();
    for (ConstBytes left = kept; !left.empty();) {
      const std::size_t at = end_ % kBytes;
      const ConstBytes piece = left.first(std::min(left.size(), kBytes - at));
      std::memcpy(ring_.data() + at, piece.data(), piece.size());
      end_ += piece.size();
      left = left.subspan(piece.size());
    }
    if (end_ > place_) written.swap(written_);
  }
  if (written) written();
}

std::uint64_t ConsoleBacklog::end() const {
  const std::lock_guard lock{mutex_};
  return end_;
}

ConsoleOutput ConsoleBacklog::read(std::uint64_t from, std::size_t most) const {
  const std::lock_guard lock{mutex_};
  const std::uint64_t oldest = end_ - std::min<std::uint64_t>(end_, kBytes);
  ConsoleOutput out{.from = std::clamp(from, oldest, end_), .bytes = {}};
  out.bytes.resize(std::min<std::uint64_t>(most, end_ - out.from));
  for (std::size_t i = 0; i < out.bytes.size(); ++i) out.bytes[i] = ring_[(out.from + i) % kBytes];
  return out;
}

void ConsoleBacklog::call_when_beyond(std::uint64_t place, std::function<void()> written) {
  {
    const std::lock_guard lock{mutex_};
    written_ = nullptr;
    if (end_ <= place) {
      place_ = place;
      written_ = std::move(written);
      return;
    }
  }
  if (written) written();
}

ConsoleDesk::ConsoleDesk(EventLoop& loop, std::shared_ptr<ConsoleBacklog> backlog, Duration patience)
    : loop_{loop}, backlog_{std::move(backlog)}, patience_{patience} {}

ConsoleDesk::~ConsoleDesk() {
  *alive_ = false;
  backlog_->call_when_beyond(0, {});
  loop_.cancel(gathering_);
  for (const Waiting& each : waiting_) loop_.cancel(each.timer);
}

void ConsoleDesk::read(std::uint64_t from, Reply reply) {
  const std::uint64_t end = backlog_->end();
  if (from != end || waiting_.size() == kMaxWaiting) {
    reply(backlog_->read(from, kMaxReplyBytes));
    return;
  }
  const auto place = waiting_.insert(waiting_.end(), {.from = from, .reply = std::move(reply)});
  place->timer = loop_.call_at(loop_.clock().now() + patience_, [this, place] {
    const Waiting expired = std::move(*place);
    waiting_.erase(place);
    expired.reply(backlog_->read(expired.from, kMaxReplyBytes));
  });
  if (gathering_ != 0) return;
  backlog_->call_when_beyond(end, [this, alive = alive_] {
    loop_.post([this, alive] {
      if (!*alive || gathering_ != 0) return;
      gathering_ = loop_.call_at(loop_.clock().now() + kGather, [this] { answer_all(); });
    });
  });
}

void ConsoleDesk::answer_all() {
  gathering_ = 0;
  // Those who ask again from within their reply wait anew.
  std::list<Waiting> answered;
  answered.swap(waiting_);
  for (const Waiting& each : answered) loop_.cancel(each.timer);
  for (const Waiting& each : answered) each.reply(backlog_->read(each.from, kMaxReplyBytes));
}

}  // namespace understudy
