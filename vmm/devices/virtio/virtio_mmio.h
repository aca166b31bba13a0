// A virtio device behind a register window in memory: virtio 1.2, 4.2 (version 2, no legacy), and the status machine of 2.1 and 3.1.
//
// Who touches what: vCPU threads write the registers, under `mutex_`; the device loop alone works on the rings, in *turns*. A turn starts
// and ends under the lock and runs without it, so that no lock is held across a backend's call; a register write that changes the rings
// (reset, DRIVER_OK) waits for the end of a turn. A turn is never granted while quiesced.
//
// Invariant: outside a turn no ring moves; queues are active only between DRIVER_OK and reset, quarantine (NEEDS_RESET) excepted.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "net/base/event_loop.h"
#include "net/base/unique_fd.h"
#include "vmm/device.h"
#include "vmm/devices/interrupt_line.h"
#include "vmm/devices/virtio/fd_watch.h"
#include "vmm/devices/virtio/state.capnp.h"
#include "vmm/devices/virtio/virtqueue.h"

namespace understudy {

// Where a virtio device stands in its machine.
struct VirtioSlot {
  std::string id;
  GuestPhysicalAddress window;  // of 4 KiB
  std::shared_ptr<GuestMemory> memory;
  EventLoop* loop;
};

class VirtioMmio : public Device {
 public:
  static constexpr std::uint64_t kQueueNotifyOffset = 0x050;
  static constexpr std::uint64_t kConfigOffset = 0x100;

  // Off the loop: after detach(), or when the loop never ran it.
  ~VirtioMmio() override;

  GuestPhysicalAddress window() const { return slot_.window; }
  const InterruptLine& interrupt() const { return interrupt_; }
  unsigned queue_count() const { return static_cast<unsigned>(queues_.size()); }
  // The eventfd that stands for a write of `queue` to QueueNotify.
  int notify_fd(unsigned queue) const { return queues_.at(queue)->notify.get(); }
  // On the loop, or before it runs: stops and unwatches everything, for good.
  void detach();

  std::string_view id() const final { return slot_.id; }
  void read(std::uint64_t offset, MutableBytes out) final;
  void write(std::uint64_t offset, ConstBytes in) final;
  // Both on the loop.
  Result<void> quiesce() final;
  void resume() final;

 protected:
  struct Identity {
    std::uint32_t device_type;                  // virtio 1.2, 5
    std::uint64_t features;                     // the device's own; the transport adds its own
    std::vector<std::byte> config_space;        // to begin with, and after a reset as it is; its size is fixed
    std::vector<std::size_t> writable_words{};  // where in it 32-bit fields lie that the driver writes
  };
  struct Host {
    InterruptLine interrupt;
    std::vector<UniqueFd> notify;  // one eventfd a queue
  };
  static Result<Host> make_host(unsigned queue_count);
  static void signal(int eventfd);
  static void drain(int eventfd);
  VirtioMmio(VirtioSlot slot, Host host, Identity identity);

  // The loop's turn on the rings; empty while quiesced.
  class Turn {
   public:
    explicit Turn(VirtioMmio& device) : device_{device}, held_{device.begin_turn()} {}
    ~Turn() {
      if (held_) device_.end_turn();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    explicit operator bool() const { return held_; }

   private:
    VirtioMmio& device_;
    const bool held_;
  };

  // In a turn:
  bool live() const { return live_ && !failed_; }  // between DRIVER_OK and reset, and sound
  // A driver may run without having made a queue ready: the ring may be touched only if this holds.
  bool runs(unsigned index) const { return live() && queues_[index]->ring.active(); }
  Virtqueue& queue(unsigned index) { return queues_[index]->ring; }
  // Shows the driver what was pushed, with an interrupt at the turn's end if it wants one.
  void publish(unsigned index) { interrupt_due_ |= queue(index).publish(); }
  // The driver broke the rules: the device stands still and asks for a reset (2.1.2).
  void fail(const char* what, const char* why);
  // Puts bytes into the configuration space, which lies around `offset`; a driver that reads it meanwhile sees its generation move (2.5).
  // tell_driver_of_config() says it by an interrupt at the turn's end, if one runs.
  void change_config(std::size_t offset, ConstBytes bytes);
  void tell_driver_of_config();
  // Comes back to work(index) in a turn of its own.
  void work_again(unsigned index) const { signal(queues_[index]->notify.get()); }

  const std::shared_ptr<GuestMemory>& shared_memory() const { return slot_.memory; }
  GuestMemory& memory() { return *slot_.memory; }
  const GuestMemory& memory() const { return *slot_.memory; }
  EventLoop& loop() { return *slot_.loop; }
  std::uint64_t driver_features() const { return driver_features_; }  // stable while live
  bool negotiated(std::uint64_t feature_bit) const { return (driver_features_ >> feature_bit & 1) != 0; }

  // The device's part. In a turn, live: chains may be available on an active queue.
  virtual void work(unsigned index) = 0;
  // In a turn, on the way from quiesced to running: watch the backend again, issue again what is in flight.
  virtual void on_resume() = 0;
  // On the loop, outside a turn: unwatch the backend; mark the pages of reads in flight.
  virtual void on_quiesce() = 0;
  // No turn runs. Any thread, under the lock: no system call that can block.
  virtual bool requests_in_flight() const = 0;
  virtual void on_reset() = 0;  // nothing is in flight
  // On the loop, quiesced, for good: no backend touches guest memory after it.
  virtual void on_detach() = 0;

  // The configuration space's 32-bit fields. Any thread, outside a turn as well.
  std::uint32_t config_word(std::size_t offset) const;
  // Changes one and tells a driver that runs (2.5, 4.2.2.1).
  void change_config_and_tell(std::size_t offset, std::uint32_t value);
  // The same, told to nobody: for on_reset().
  void put_config(std::size_t offset, std::uint32_t value);
  // For restore(), after restore_transport(), which knows the generation.
  void restore_config(const std::vector<std::pair<std::size_t, std::uint32_t>>& words);

  // For the device's save(), check() and restore().
  struct TransportState {
    std::uint32_t status = 0;
    std::uint32_t device_features_select = 0;
    std::uint32_t driver_features_select = 0;
    std::uint64_t driver_features = 0;
    std::uint32_t queue_select = 0;
    std::uint32_t interrupt_status = 0;
    bool reset_pending = false;
    std::uint32_t config_generation = 0;
    std::vector<QueueState> queues;
  };
  void save_transport(schema::VirtioTransportState::Builder out) const;
  Result<TransportState> parse_transport(schema::VirtioTransportState::Reader in) const;
  void restore_transport(const TransportState& state);

 private:
  struct Queue {
    Queue(EventLoop& loop, UniqueFd notify_fd, GuestMemory& memory, std::function<void()> notified)
        : notify{std::move(notify_fd)}, watch{loop, notify.get(), std::move(notified)}, ring{memory} {}
    const UniqueFd notify;
    FdWatch watch;
    Virtqueue ring;         // moves in turns only
    QueueState configured;  // as the driver wrote it; positions are the ring's. Guarded by mutex_
  };

  bool begin_turn();
  void end_turn();
  void on_notified(unsigned index);

  std::uint32_t read_register(std::uint64_t offset) const;
  void write_register(std::uint64_t offset, std::uint32_t value);
  void write_config(std::uint64_t at, ConstBytes in);
  void write_queue_register(QueueState& queue, std::uint64_t offset, std::uint32_t value);
  void write_status(std::unique_lock<std::mutex>& lock, std::uint32_t value);
  void request_reset(std::unique_lock<std::mutex>& lock);
  void finish_reset();
  // Makes the queues active as configured; on an error the device needs a reset.
  void go_live();
  void need_reset();
  bool features_acceptable() const;

  const VirtioSlot slot_;
  const InterruptLine interrupt_;
  const std::uint32_t device_type_;
  const std::uint64_t offered_features_;
  const std::vector<std::size_t> writable_words_;
  std::vector<std::unique_ptr<Queue>> queues_;  // the vector is fixed after construction

  // Set under mutex_ (so that it falls to a reset with the rest), read and acknowledged without.
  std::atomic<std::uint32_t> interrupt_status_{0};

  mutable std::mutex mutex_;
  std::condition_variable turn_changed_;
  // Guarded by mutex_.
  std::uint32_t status_ = 0;
  std::uint32_t device_features_select_ = 0;
  std::uint32_t driver_features_select_ = 0;
  std::uint32_t queue_select_ = 0;
  bool in_turn_ = false;
  bool quiesced_ = true;
  bool reset_pending_ = false;
  bool raise_due_ = false;  // an edge to send once the lock is released
  bool kick_due_ = false;   // all queues to be looked at, likewise
  std::vector<std::byte> config_space_;
  std::uint32_t config_generation_ = 0;
  // Guarded by mutex_ outside a turn; in a turn the loop reads them without, as nobody changes them then.
  std::uint64_t driver_features_ = 0;
  bool live_ = false;

  // The loop's, in a turn.
  bool interrupt_due_ = false;
  bool failed_ = false;
  // The loop's, or the controlling thread's while quiesced.
  bool restored_ = false;
};

}  // namespace understudy
