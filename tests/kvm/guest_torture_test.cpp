// The torture guest survives checkpoint, kill and restore, again and again at random instants, with its invariant whole.
//
// Two memories take turns, as two hosts do: the guest runs over one, its checkpoints are copied page by page into the other, the machine is
// destroyed at a random moment, and the guest goes on over the other. Only the first copy of a turn is full; the rest are what harvest()
// reports, so a page that is missed, late or torn contradicts the others: the host's judge looks at every image, the guest itself compares
// every page with its registers.
#include <chrono>
#include <cstring>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "tests/guest/torture_check.h"
#include "tests/kvm/guest_checkpoint.h"
#include "tests/kvm/guest_kv_client.h"

namespace understudy::test {
namespace {

#define ASSERT_OK(expression)                                          \
  do {                                                                 \
    const auto us_ok = (expression);                                   \
    ASSERT_TRUE(us_ok) << #expression << ": " << us_ok.error().text(); \
  } while (false)

constexpr std::uint64_t kMaxRunUs = 4'000;

class TortureTurns {
 public:
  TortureTurns(const GuestHostConfig& config, std::uint64_t seed) : config_{config}, random_{seed}, client_{seed} {
    for (auto& image : images_) {
      auto made = GuestMemory::create(config.memory_bytes);
      if (!made) throw std::runtime_error{made.error().text()};
      image = std::move(*made);
    }
    running_ = std::make_unique<GuestHost>(config_, images_[0]);
  }

  void play(int turns) {
    running_->boot();
    for (int turn = 0; turn < turns; ++turn) {
      SCOPED_TRACE("turn " + std::to_string(turn));
      ASSERT_NO_FATAL_FAILURE(take_turn());
    }
    const double kept = static_cast<double>(incremental_pages_) / static_cast<double>(incremental_checkpoints_);
    std::printf("%d turns, %zu incremental checkpoints of %.0f pages on average\n", turns, incremental_checkpoints_, kept);
    EXPECT_GT(incremental_checkpoints_, static_cast<std::size_t>(turns));
  }

 private:
  std::shared_ptr<GuestMemory>& target() { return images_[1 - source_]; }
  Machine& machine() { return running_->machine(); }
  void run_on() {
    const std::uint64_t most = random_() % 16 == 0 ? 20 * kMaxRunUs : kMaxRunUs;
    std::this_thread::sleep_for(std::chrono::microseconds{random_() % most});
  }

  void copy(const PageSet& pages) {
    const auto to = target()->file();
    pages.for_each([&](PageIndex page) { std::memcpy(&to[page.raw() * kPageSizeBytes], machine().page(page).data(), kPageSizeBytes); });
  }

  void harvest_and_copy() {
    PageSet dirty{machine().page_count()};
    ASSERT_OK(machine().harvest(dirty));
    copy(dirty);
  }

  void checkpoint() {
    if (random_() % 3 == 0) {  // pre-copy, while the guest runs
      ASSERT_NO_FATAL_FAILURE(harvest_and_copy());
    }
    ASSERT_OK(machine().pause(kPauseDeadline));
    const auto state = machine().save();
    ASSERT_TRUE(state) << state.error().text();
    state_.assign(state->begin(), state->end());
    PageSet dirty{machine().page_count()};
    ASSERT_OK(machine().harvest(dirty));
    if (random_() % 4 == 0) {  // an aborted epoch: its pages come again
      machine().merge_back(dirty);
      PageSet again{machine().page_count()};
      ASSERT_OK(machine().harvest(again));
      dirty.for_each([&](PageIndex page) { ASSERT_TRUE(again.contains(page)) << "page " << page.raw() << " was lost by an abort"; });
      dirty = again;
    }
    copy(dirty);
    dirty.for_each([&](PageIndex page) { machine().set_hot(page, random_() % 2 == 0); });  // some are left writable until another time
    if (running_->has_disk()) config_.disk = running_->disk().content();
    const std::size_t frames = running_->has_net() ? running_->net().held() : 0;
    ++incremental_checkpoints_;
    incremental_pages_ += dirty.count();
    ASSERT_OK(machine().resume());
    if (running_->has_net()) running_->net().release(frames);
  }

  // Requests whose replies leave with the next checkpoint, and frames to keep the rings moving.
  void make_traffic() {
    if (!running_->has_net()) return;
    MemoryNet& net = running_->net();
    net.hold(true);
    client_.take_reply(net, std::chrono::milliseconds{0});
    ASSERT_EQ(client_.problem(), "");
    if (client_.outstanding())
      client_.send_again(net);
    else
      client_.send_next(net);
    for (auto pings = random_() % 20; pings > 0; --pings) net.inject(test_peer().echo_request(1, 1, Frame(200, 7)));
  }

  void take_turn() {
    ASSERT_NO_FATAL_FAILURE(make_traffic());
    run_on();
    ASSERT_OK(machine().start_tracking());
    PageSet all{machine().page_count()};
    all.insert_all();
    copy(all);
    for (auto checkpoints = 1 + random_() % 6; checkpoints > 0; --checkpoints) {
      ASSERT_NO_FATAL_FAILURE(make_traffic());
      run_on();
      ASSERT_NO_FATAL_FAILURE(checkpoint());
    }
    ASSERT_NO_FATAL_FAILURE(make_traffic());
    run_on();  // what is lost with the host
    ASSERT_FALSE(machine().event()) << running_->story();
    ASSERT_EQ(running_->state(), guest::GuestState::kRunning) << running_->story();
    running_->kill();

    source_ = 1 - source_;
    const auto image = images_[source_]->file();
    const guest::TortureVerdict verdict = guest::check_torture(image);
    ASSERT_TRUE(verdict.whole()) << *verdict.contradiction;
    running_ = std::make_unique<GuestHost>(config_, images_[source_]);
    ASSERT_OK(machine().check_state(state_));
    ASSERT_OK(machine().restore(state_));
    const guest::Published before = running_->published();
    ASSERT_OK(machine().resume());
    // Every vCPU goes on, and has compared all its pages with its registers.
    const auto moved = [&] {
      const guest::Published now = running_->published();
      bool all_moved = true;
      for (unsigned cpu = now.torture_first_cpu; cpu < now.torture_first_cpu + now.torture_cpu_count; ++cpu)
        all_moved = all_moved && now.cpus[cpu].torture_checks > before.cpus[cpu].torture_checks;
      return all_moved || now.state != static_cast<std::uint32_t>(guest::GuestState::kRunning) || machine().event().has_value();
    };
    ASSERT_TRUE(wait_for(moved)) << "no progress after the restore; " << running_->story();
    ASSERT_EQ(running_->state(), guest::GuestState::kRunning) << running_->story();
    ASSERT_FALSE(machine().event()) << running_->story();
    if (running_->has_net()) {
      ASSERT_TRUE(client_.ask(running_->net())) << client_.problem() << running_->story();
    }
  }

  GuestHostConfig config_;  // its disk: as of the last checkpoint
  std::mt19937_64 random_;
  KvClient client_;
  std::array<std::shared_ptr<GuestMemory>, 2> images_;
  std::size_t source_ = 0;
  std::unique_ptr<GuestHost> running_;
  std::vector<std::byte> state_;
  std::size_t incremental_checkpoints_ = 0;
  std::size_t incremental_pages_ = 0;
};

TEST(GuestTorture, Survives200TurnsOnTwoVcpus) {
  TortureTurns turns{{.vcpu_count = 2, .command_line = "mode=torture"}, test_seed()};
  turns.play(200);
}

TEST(GuestTorture, SurvivesOnOneVcpu) {
  TortureTurns turns{{.vcpu_count = 1, .command_line = "mode=torture"}, test_seed() + 1};
  turns.play(20);
}

TEST(GuestTorture, SurvivesOnFourVcpus) {
  TortureTurns turns{{.memory_bytes = std::uint64_t{32} << 20, .vcpu_count = 4, .command_line = "mode=torture"}, test_seed() + 2};
  turns.play(10);
}

// With the devices' own writes to memory, which KVM's log does not hold: rings, received frames, what a disk reads. A page of theirs that
// is missed shows as a wrong or missing reply, a broken ring, or a log that stands still.
TEST(GuestTorture, SurvivesWithDevicesAtWork) {
  TortureTurns turns{{.vcpu_count = 2,
                      .command_line = "mode=kv log=1 background=torture",
                      .with_net = true,
                      .disk = std::vector<std::byte>(256 * BlockBackend::kSectorBytes)},
                     test_seed() + 3};
  turns.play(60);
}

// The test itself must be able to fail: a checkpoint that misses one page does.
TEST(GuestTorture, AMissedPageIsCaught) {
  GuestHost host{{.vcpu_count = 2, .command_line = "mode=torture"}};
  host.boot();
  Machine& machine = host.machine();
  ASSERT_OK(machine.start_tracking());
  ASSERT_OK(machine.pause(kPauseDeadline));
  const auto memory = host.memory()->file();
  std::vector<std::byte> image(memory.begin(), memory.end());
  const auto first = guest::check_torture(image);
  ASSERT_TRUE(first.whole()) << *first.contradiction;
  PageSet dirty{machine.page_count()};
  ASSERT_OK(machine.harvest(dirty));
  ASSERT_OK(machine.resume());
  const guest::Published before = host.published();
  ASSERT_TRUE(wait_for([&] { return host.published().cpus[0].torture_passes > before.cpus[0].torture_passes + 100; })) << host.story();
  ASSERT_OK(machine.pause(kPauseDeadline));
  dirty.clear();
  ASSERT_OK(machine.harvest(dirty));
  const std::uint64_t torture_page = host.published().torture_base / kPageSizeBytes;
  std::vector<PageIndex> torture_pages;
  dirty.for_each([&](PageIndex page) {
    std::memcpy(&image[page.raw() * kPageSizeBytes], machine.page(page).data(), kPageSizeBytes);
    if (page.raw() >= torture_page) torture_pages.push_back(page);
  });
  ASSERT_TRUE(guest::check_torture(image).whole());
  ASSERT_GT(torture_pages.size(), guest::kMaxCpus);
  std::vector<std::byte> previous(kPageSizeBytes);
  for (const PageIndex missed : torture_pages) {
    // One page a little older than the rest, as a lost dirty bit leaves it.
    const auto at = static_cast<std::ptrdiff_t>(missed.raw() * kPageSizeBytes);
    previous.assign(image.begin() + at, image.begin() + at + static_cast<std::ptrdiff_t>(kPageSizeBytes));
    bool aged = false;
    for (std::size_t word = 0; word < kPageSizeBytes; word += 8) {
      std::uint64_t value = 0;
      std::memcpy(&value, &previous[word], sizeof value);
      if (value < 3) continue;
      value -= 2;
      std::memcpy(&image[missed.raw() * kPageSizeBytes + word], &value, sizeof value);
      aged = true;
    }
    if (aged) {
      EXPECT_FALSE(guest::check_torture(image).whole()) << "page " << missed.raw();
    }
    std::copy(previous.begin(), previous.end(), image.begin() + at);
  }
}

// And so must the guest's own eye: memory of one instant, registers of another.
TEST(GuestTorture, RegistersOfAnotherInstantAreCaught) {
  const GuestHostConfig config{.vcpu_count = 2, .command_line = "mode=torture"};
  GuestHost host{config};
  host.boot();
  const GuestCheckpoint first = take_checkpoint(host);
  const guest::Published before = host.published();
  ASSERT_TRUE(wait_for([&] { return host.published().cpus[0].torture_passes > before.cpus[0].torture_passes + 100; })) << host.story();
  GuestCheckpoint mixed = take_checkpoint(host);
  host.kill();
  ASSERT_TRUE(guest::check_torture(mixed.memory).whole());
  mixed.state = first.state;
  const auto twin = restore_checkpoint(config, mixed);
  ASSERT_OK(twin->machine().resume());
  EXPECT_TRUE(wait_for([&] { return twin->state() != guest::GuestState::kRunning; })) << "the guest did not notice; " << twin->story();
}

}  // namespace
}  // namespace understudy::test
