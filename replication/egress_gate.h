// Output commit: the guest's frames wait here until their epoch is committed, and leave in order.
//
// Frames are tagged with the open epoch when the guest sends them. Which of them may leave is the mode's matter:
//   mute  nothing leaves, now or later: what waits is dropped, and what comes is dropped and counted. (How a gate begins.)
//   hold  nothing leaves; what waits is kept. pair() or solo() of the same term goes on with it.
//   pair  a frame leaves once commit() named its epoch, or a later one, in this term.
//   solo  frames leave at once.
// A term's commits count in that term alone: pair() of another term begins with none.
//
// The gap guard (design, "Who may run the guest", rule 5): when two calls of pump() lie further apart than max_gap, this host stood still,
// and the world may have moved on. The gate then holds everything until confirm_term() brings the proof of a round trip that began after
// the gap was seen, in the mode's term; mute() drops as ever.
//
// Threading: transmit(), receive() and the fds: the machine's device loop. pump(): one egress thread. All else: any thread; none blocks.
// The lock is never held across a send. So a frame whose sending began before mute() may reach the port just after it: it was permitted
// then. The port is used by two threads, one that only sends and one that only receives.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "net/base/clock.h"
#include "net/base/ids.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"
#include "net/packet_port.h"
#include "replication/frame_ring.h"
#include "vmm/backend.h"

namespace understudy {

enum class EgressMode : std::uint8_t { kMute, kHold, kPair, kSolo };
const char* name_of(EgressMode mode);

struct EgressGateConfig {
  std::size_t ring_bytes = std::size_t{8} << 20;  // of waiting frames; at least twice NetBackend::kMaxFrameBytes
  std::size_t ring_frames = 8192;                 // 1 or more
  Duration max_gap = std::chrono::milliseconds{250};
  Epoch first_epoch{1};  // the open epoch at the start: 1 for a new guest, after a takeover the one after that which was taken over
};

struct EgressGateStats {
  EgressMode mode = EgressMode::kMute;
  Term term;
  Epoch open_epoch;
  Epoch committed;  // in `term`; 0: none
  bool unconfirmed = false;
  std::size_t depth_frames = 0;
  std::size_t depth_bytes = 0;
  Duration oldest_age{};  // of the first waiting frame, at the last pump()
  std::uint64_t accepted = 0;
  std::uint64_t released = 0;
  std::uint64_t dropped_muted = 0;     // transmitted while muted, or waiting when it was muted
  std::uint64_t dropped_by_port = 0;   // the port refused them for good
  std::uint64_t refused_full = 0;      // transmit() said no
  std::uint64_t received = 0;          // towards the guest
  std::uint64_t dropped_received = 0;  // arrived while muted
  std::uint64_t offload_errors = 0;    // the port did not take what the guest takes on
  std::uint64_t foreign_commits = 0;   // of another term, or in a mode that takes none
  std::uint64_t gaps = 0;
};

class EgressGate final : public NetBackend {
 public:
  // `port` outlives the gate. kInvalid: a ring too small; kUnavailable: no eventfd or memory.
  static Result<std::unique_ptr<EgressGate>> create(PacketPort& port, const EgressGateConfig& config);
  ~EgressGate() override;

  // NetBackend
  bool offloads() const override { return port_.offloads(); }
  void set_receive_offloads(const Offloads& taken) override;  // reaches the port with the next pump()
  bool transmit(const FrameOffload& offload, std::span<const ConstBytes> pieces) override;
  int room_fd() const override { return room_.get(); }
  std::expected<ReceivedFrame, NoFrame> receive(MutableBytes frame) override;
  int receive_fd() const override { return port_.fd(); }

  // The mode, as listed above. Frames of the open epoch and before that left earlier are committed history.
  void mute();
  void hold(Term term);
  void pair(Term term);
  void solo(Term term);

  // The guest stands in the pause that ends `epoch`, the open one: frames from now on belong to the next.
  void close_epoch(Epoch epoch);
  // After a takeover: where the epochs go on. Only while muted and empty.
  void set_open_epoch(Epoch epoch);
  Epoch open_epoch() const;
  // The peer acked `epoch` in `term`. Lower than before: ignored.
  void commit(Term term, Epoch epoch);
  // Drops what waits; the mode stays.
  void drop_all();
  bool empty() const;

  // Sends what may leave, in order, until none is left, the port is busy (then call again soon), or kBurst have left. Returns how many
  // left. Call at least every max_gap / 2, also when nothing waits: a longer silence counts as a gap. The clock is read before each frame.
  static constexpr std::size_t kBurst = 64;
  std::size_t pump(const Clock& clock);
  // Anything that pump() could send now, as far as the gate knows: for a thread that sleeps between.
  bool sendable() const;
  // Called with no lock held, on the caller's thread, when pump() has something to do. Set before use; must not block.
  void on_sendable(std::function<void()> wake) { wake_ = std::move(wake); }
  // Called with no lock held, on transmit()'s thread, when the first frame of the open epoch waits in the mode pair. Set before use; must
  // not block.
  void on_output(std::function<void(Epoch)> output) { output_ = std::move(output); }
  // The same for a gap: on pump()'s thread, with its length. The owner then starts a round trip and answers with confirm_term().
  void on_gap(std::function<void(Instant seen_at, Duration length)> gap) { gap_ = std::move(gap); }
  // A round trip that began at `asked_at` showed that `term` is still the one in force. Ignored when it began before the gap was seen, or
  // is of another term.
  void confirm_term(Term term, Instant asked_at);

  EgressGateStats stats() const;

 private:
  EgressGate(PacketPort& port, const EgressGateConfig& config, UniqueFd room);
  bool front_may_leave() const;                   // under mutex_
  void drop_waiting();                            // under mutex_
  void signal_room();                             // under mutex_
  bool watch_gap(Instant now, Duration* length);  // under mutex_; true when a gap was seen just now
  void enter(EgressMode mode, Term term);
  void wake();
  void pass_receive_offloads(std::unique_lock<std::mutex>& lock);

  PacketPort& port_;
  const EgressGateConfig config_;
  const UniqueFd room_;
  std::function<void()> wake_;
  std::function<void(Instant, Duration)> gap_;
  std::function<void(Epoch)> output_;

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  FrameRing ring_;
  EgressMode mode_ = EgressMode::kMute;
  Term term_;
  Epoch open_epoch_;
  Epoch committed_;
  Epoch with_output_;  // the latest of which it was told that a frame waits
  std::optional<Instant> last_pump_;
  std::optional<Instant> unconfirmed_since_;
  bool room_wanted_ = false;
  bool sending_ = false;                      // the ring's first frame is at the port right now
  bool front_dropped_ = false;                // ... and was dropped meanwhile: gone, whatever the port says
  std::optional<Offloads> receive_offloads_;  // for the port, which has not heard of them yet
  EgressGateStats stats_;
};

}  // namespace understudy
