// What CURVE costs: a link between two nodes over loopback, open and with keys, in turn. Throughput of frames as large as an epoch's
// batches, and the round trip of a small message. Each end has a loop and ZeroMQ threads of its own, as on two hosts.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "net/base/check.h"
#include "net/base/event_loop.h"
#include "net/zmq_link.h"

namespace understudy {
namespace {

constexpr std::size_t kFrameBytes = std::size_t{1} << 20;
constexpr std::size_t kPingBytes = 64;
constexpr Duration kDeadline = std::chrono::seconds{30};

struct Lengths {
  int rounds = 5;
  Duration stream = std::chrono::seconds{2};
  int pings = 4000;
};

Frame frame_of(std::size_t bytes) {
  const auto owner = std::make_shared<std::vector<std::byte>>(bytes, std::byte{'x'});
  return Frame{*owner, owner};
}

class Ends {
 public:
  Ends(const Clock& clock, const std::optional<LinkKeys>& a_keys, const std::optional<LinkKeys>& b_keys) : clock_{clock} {
    a_thread_ = LoopThread::start(clock, "node-a").value();
    b_thread_ = LoopThread::start(clock, "node-b").value();
    on(*a_thread_, [&] { a_ = open(*a_thread_, ZmqLinkConfig::Side::kBind, NodeId::kA, "tcp://127.0.0.1:*", a_keys); });
    on(*b_thread_, [&] { b_ = open(*b_thread_, ZmqLinkConfig::Side::kConnect, NodeId::kB, a_->endpoint(), b_keys); });
    wait([this] { return connected_ == 2; });
  }
  ~Ends() {
    on(*b_thread_, [this] { b_.reset(); });
    on(*a_thread_, [this] { a_.reset(); });
  }

  // MiB a second.
  double stream(Duration length) {
    std::atomic<std::uint64_t> taken{0};
    on(*a_thread_, [&] { a_->on_message([&](const Message&) { ++taken; }); });
    const auto frame = frame_of(kFrameBytes);
    std::atomic<bool> sending{true};
    const std::function<void()> fill = [&] {
      while (sending && b_->send({frame})) {
      }
    };
    on(*b_thread_, [&] { b_->on_writable(fill); });
    const Instant began = clock_.now();
    on(*b_thread_, fill);
    std::this_thread::sleep_for(length);
    const auto frames = taken.load();
    const auto seconds = to_ms(clock_.now() - began) / 1000;
    sending = false;
    std::uint64_t sent = 0;
    on(*b_thread_, [&] {
      b_->on_writable([] {});
      sent = b_->counters().messages_sent;
    });
    wait([&] { return taken.load() + earlier_ >= sent; });
    earlier_ = sent;
    on(*a_thread_, [&] { a_->on_message([](const Message&) {}); });
    return static_cast<double>(frames) / seconds;
  }

  // Microseconds, the median.
  double round_trip(int count) {
    std::vector<double> us;
    Instant sent_at;
    std::atomic<bool> done{false};
    const auto frame = frame_of(kPingBytes);
    on(*a_thread_, [&] { a_->on_message([&](Message message) { US_CHECK(a_->send(std::move(message))); }); });
    const auto ping = [&] {
      sent_at = clock_.now();
      US_CHECK(b_->send({frame}));
    };
    on(*b_thread_, [&] {
      b_->on_message([&](const Message&) {
        us.push_back(to_ms(clock_.now() - sent_at) * 1000);
        if (us.size() < static_cast<std::size_t>(count)) return ping();
        done = true;
      });
      ping();
    });
    wait([&] { return done.load(); });
    on(*b_thread_, [&] { b_->on_message([](const Message&) {}); });
    on(*a_thread_, [&] { a_->on_message([](const Message&) {}); });
    earlier_ += static_cast<std::uint64_t>(count);
    std::ranges::nth_element(us, us.begin() + count / 2);
    return us[static_cast<std::size_t>(count / 2)];
  }

 private:
  static void on(LoopThread& thread, const std::function<void()>& work) { US_CHECK(thread.loop().post_and_wait(work, kDeadline)); }
  template <class Condition>
  void wait(Condition condition) const {
    const Instant give_up = clock_.now() + kDeadline;
    while (!condition()) {
      US_CHECK(clock_.now() < give_up);
      std::this_thread::sleep_for(std::chrono::microseconds{200});
    }
  }
  std::unique_ptr<ZmqLink> open(LoopThread& thread, ZmqLinkConfig::Side side, NodeId self, const std::string& endpoint,
                                const std::optional<LinkKeys>& keys) {
    ZmqLinkConfig config;
    config.side = side;
    config.endpoint = endpoint;
    config.local_name = link_name(PairId{1}, self);
    config.peer_name = link_name(PairId{1}, peer_of(self));
    config.keys = keys;
    auto link = ZmqLink::create(thread.loop(), ZmqContext::create(), config).value();
    link->on_connection([this](bool connected) { connected_ += connected ? 1 : -1; });
    return link;
  }

  const Clock& clock_;
  std::unique_ptr<LoopThread> a_thread_, b_thread_;
  std::unique_ptr<ZmqLink> a_, b_;
  std::atomic<int> connected_{0};
  std::uint64_t earlier_ = 0;  // messages of b's that are done with
};

double median(std::vector<double> samples) {
  std::ranges::sort(samples);
  return samples[samples.size() / 2];
}

void measure(const Lengths& lengths) {
  const MonotonicClock clock;
  const auto a = CurveSecretKey::generate(), b = CurveSecretKey::generate();
  std::vector<double> stream[2], trip[2];
  for (int round = 0; round < lengths.rounds; ++round) {
    for (const int keyed : {0, 1}) {
      Ends ends{clock, keyed ? std::optional{LinkKeys{a, b.public_key()}} : std::nullopt,
                keyed ? std::optional{LinkKeys{b, a.public_key()}} : std::nullopt};
      trip[keyed].push_back(ends.round_trip(lengths.pings));
      stream[keyed].push_back(ends.stream(lengths.stream));
    }
  }
  fmt::print("{:<28}{:>12}{:>12}\n", "link over loopback", "open", "with keys");
  fmt::print("{:<28}{:>12.0f}{:>12.0f}\n", "1 MiB frames, MiB/s", median(stream[0]), median(stream[1]));
  fmt::print("{:<28}{:>12.1f}{:>12.1f}\n", "64 bytes and back, us", median(trip[0]), median(trip[1]));
}

}  // namespace
}  // namespace understudy

int main(int argc, char** argv) {
  using namespace understudy;
  const bool brief = argc > 1 && std::string_view{argv[1]} == "--short";
  measure(brief ? Lengths{.rounds = 1, .stream = std::chrono::milliseconds{100}, .pings = 100} : Lengths{});
  return 0;
}
