// The driver's virtqueue against a small device of the test's own, event index included.
#include "tests/guest/virtqueue.h"

#include <deque>
#include <memory>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace understudy::guest {
namespace {

// The device's half, single-threaded, written from virtio 1.2, 2.7.
class DeviceSide {
 public:
  DeviceSide(VirtqueueMemory& memory, std::uint16_t size) : memory_{memory}, size_{size} {}

  bool has_work() const { return seen_ != memory_.available.index; }
  std::uint16_t take() { return memory_.available.ring[seen_++ % size_]; }
  // Asks to be notified of the next buffer.
  void ask_notification() { event() = seen_; }
  // Returns whether the driver asked for an interrupt at this completion.
  bool complete(std::uint16_t head, std::uint32_t length) {
    memory_.used.ring[memory_.used.index % size_] = {head, length};
    const std::uint16_t before = memory_.used.index++;
    return memory_.available.ring[size_] == before;
  }
  std::uint16_t& event() {
    return size_ == VirtqueueMemory::kMaxSize ? memory_.used.available_event_if_full
                                              : reinterpret_cast<std::uint16_t&>(memory_.used.ring[size_]);
  }

 private:
  VirtqueueMemory& memory_;
  std::uint16_t size_;
  std::uint16_t seen_ = 0;
};

struct QueueFixture {
  explicit QueueFixture(std::uint16_t size) : device{*memory, size} { queue.init(*memory, size, true); }
  std::unique_ptr<VirtqueueMemory> memory = std::make_unique<VirtqueueMemory>();
  Virtqueue queue;
  DeviceSide device;
};

TEST(Virtqueue, ChainsAreLinkedAsTheDeviceReadsThem) {
  QueueFixture f{8};
  const Virtqueue::Segment segments[] = {{0x1000, 16, false}, {0x2000, 512, true}, {0x3000, 1, true}};
  const auto head = f.queue.add(segments);
  ASSERT_TRUE(head);
  EXPECT_FALSE(f.device.has_work()) << "not published yet";
  f.queue.publish();
  ASSERT_TRUE(f.device.has_work());
  std::uint16_t at = f.device.take();
  EXPECT_EQ(at, *head);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto& d = f.memory->descriptors[at];
    EXPECT_EQ(d.address, segments[i].address);
    EXPECT_EQ(d.length, segments[i].length);
    EXPECT_EQ((d.flags & 2) != 0, segments[i].device_writes);
    EXPECT_EQ((d.flags & 1) != 0, i < 2);
    at = d.next;
  }
  EXPECT_EQ(f.queue.free_descriptors(), 5U);
}

TEST(Virtqueue, RefusesMoreThanItHas) {
  QueueFixture f{8};
  const std::vector<Virtqueue::Segment> three(3, {0x1000, 8, false});
  EXPECT_TRUE(f.queue.add(three));
  EXPECT_TRUE(f.queue.add(three));
  EXPECT_FALSE(f.queue.add(three));
  EXPECT_FALSE(f.queue.add({}));
}

TEST(Virtqueue, NotifiesOnlyWhenTheEventIsPassed) {
  QueueFixture f{8};
  const Virtqueue::Segment one[] = {{0x1000, 8, false}};
  f.device.ask_notification();  // of the first
  ASSERT_TRUE(f.queue.add(one));
  EXPECT_TRUE(f.queue.publish());
  ASSERT_TRUE(f.queue.add(one));
  EXPECT_FALSE(f.queue.publish()) << "the device has not asked again";
  EXPECT_FALSE(f.queue.publish()) << "nothing new";
  f.device.take();
  f.device.take();
  f.device.ask_notification();
  ASSERT_TRUE(f.queue.add(one));
  ASSERT_TRUE(f.queue.add(one));
  EXPECT_TRUE(f.queue.publish());
}

TEST(Virtqueue, AskInterruptNeverLosesACompletion) {
  QueueFixture f{8};
  const Virtqueue::Segment one[] = {{0x1000, 8, true}};
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(f.queue.add(one));
  f.queue.publish();
  EXPECT_FALSE(f.queue.ask_interrupt());
  EXPECT_TRUE(f.device.complete(f.device.take(), 5)) << "asked for";
  EXPECT_FALSE(f.device.complete(f.device.take(), 6)) << "one interrupt is enough";
  EXPECT_TRUE(f.queue.ask_interrupt()) << "completions stand there already";
  EXPECT_EQ(f.queue.take()->length, 5U);
  EXPECT_EQ(f.queue.take()->length, 6U);
  EXPECT_FALSE(f.queue.take());
  EXPECT_FALSE(f.queue.ask_interrupt(2));
  EXPECT_FALSE(f.device.complete(f.device.take(), 7));
  EXPECT_TRUE(f.device.complete(f.device.take(), 8)) << "the second one";
}

TEST(Virtqueue, ADeviceThatNamesAForeignChainBreaksTheQueue) {
  for (const std::uint16_t id : {std::uint16_t{1}, std::uint16_t{8}, std::uint16_t{500}}) {
    QueueFixture f{8};
    const Virtqueue::Segment one[] = {{0x1000, 8, true}};
    ASSERT_TRUE(f.queue.add(one));
    f.queue.publish();
    f.device.take();
    f.device.complete(id, 1);
    EXPECT_FALSE(f.queue.take());
    EXPECT_TRUE(f.queue.broken());
  }
}

// Many times round both rings, completions out of order: every chain comes back once, and no interrupt or notification is lost.
TEST(Virtqueue, RandomTraffic) {
  for (const std::uint16_t size : {std::uint16_t{8}, std::uint16_t{64}, VirtqueueMemory::kMaxSize}) {
    QueueFixture f{size};
    std::mt19937_64 random{size};
    std::vector<std::uint16_t> at_device;
    std::vector<bool> in_flight(size);
    std::size_t added = 0;
    std::size_t taken = 0;
    bool notified = true;
    f.device.ask_notification();
    for (int step = 0; step < 400'000; ++step) {
      switch (random() % 3) {
        case 0: {
          const std::vector<Virtqueue::Segment> segments(1 + random() % 3, {0x1000, 8, true});
          const auto head = f.queue.add(segments);
          if (!head) break;
          EXPECT_FALSE(in_flight[*head]);
          in_flight[*head] = true;
          ++added;
          if (random() % 2 == 0) notified = f.queue.publish() || notified;
          break;
        }
        case 1:
          if (!notified) break;
          while (f.device.has_work()) at_device.push_back(f.device.take());
          f.device.ask_notification();
          notified = false;
          for (auto n = random() % 8; n > 0 && !at_device.empty(); --n) {
            std::swap(at_device[random() % at_device.size()], at_device.back());
            f.device.complete(at_device.back(), 1);
            at_device.pop_back();
          }
          notified = !at_device.empty();
          break;
        default:
          notified = f.queue.publish() || notified;
          while (const auto done = f.queue.take()) {
            EXPECT_TRUE(in_flight[done->head]);
            in_flight[done->head] = false;
            ++taken;
          }
      }
    }
    EXPECT_FALSE(f.queue.broken());
    EXPECT_GT(taken, 100'000U);
    EXPECT_LE(added - taken, size);
  }
}

}  // namespace
}  // namespace understudy::guest
