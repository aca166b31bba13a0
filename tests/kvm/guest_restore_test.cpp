// Save, run on, restore on another host, compare: bit-exact, with real traffic through every device; and the guest's clients see one
// history, though every host that served them was killed.
#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "tests/guest/block_log.h"
#include "tests/guest/torture_check.h"
#include "tests/kvm/guest_checkpoint.h"
#include "tests/kvm/guest_kv_client.h"

namespace understudy::test {
namespace {

constexpr std::size_t kLogSlots = 256;

// How many records the disk holds gap-free; fails the test if it lost a flushed one.
std::uint64_t judge_log(const std::vector<std::byte>& disk) {
  std::vector<std::uint64_t> memory(disk.size() / guest::kLogRecordBytes);
  guest::BlockLogScan scan{memory};
  for (std::size_t slot = 0; slot < memory.size(); ++slot) {
    guest::BlockLogRecord record{};
    std::memcpy(&record, disk.data() + slot * guest::kLogRecordBytes, sizeof record);
    scan.add(slot, record);
  }
  const guest::BlockLogSummary found = scan.summary();
  EXPECT_TRUE(found.kept_every_flushed_record()) << "flushed through " << found.flushed_through << ", found " << found.last_contiguous;
  return found.last_contiguous;
}

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_{seed} {}
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  void run_on(std::uint64_t max_us) { std::this_thread::sleep_for(std::chrono::microseconds{below(max_us)}); }

 private:
  std::mt19937_64 random_;
};

TEST(GuestRestore, IsBitExactUnderTraffic) {
  const GuestHostConfig config{.vcpu_count = 2,
                               .command_line = "mode=kv log=1 background=torture",
                               .with_net = true,
                               .disk = std::vector<std::byte>(kLogSlots * guest::kLogRecordBytes)};
  Dice dice{test_seed()};
  auto host = std::make_unique<GuestHost>(config);
  host->boot();
  KvClient client{test_seed()};
  std::size_t with_disk_requests = 0;
  for (int round = 0; round < 40; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(client.ask(host->net())) << client.problem() << host->story();
    client.send_next(host->net());
    for (auto pings = dice.below(30); pings > 0; --pings) host->net().inject(test_peer().echo_request(1, 1, Frame(100, 7)));
    dice.run_on(1'500);
    host->net().hold(true);
    const GuestCheckpoint checkpoint = take_checkpoint(*host);
    with_disk_requests += checkpoint.disk_requests > 0 ? 1U : 0U;
    dice.run_on(2'000);
    host->kill();

    const guest::TortureVerdict verdict = guest::check_torture(checkpoint.memory);
    EXPECT_TRUE(verdict.whole()) << *verdict.contradiction;
    auto twin = restore_checkpoint(config, checkpoint);
    const auto memory = twin->memory()->file();
    EXPECT_EQ(std::memcmp(memory.data(), checkpoint.memory.data(), memory.size()), 0) << "restore() wrote to memory";
    const auto again = twin->machine().save();
    ASSERT_TRUE(again) << again.error().text();
    EXPECT_EQ(difference_of_states(checkpoint.state, *again), "");
    EXPECT_EQ(std::memcmp(memory.data(), checkpoint.memory.data(), memory.size()), 0) << "save() wrote to memory";
    const auto resumed = twin->machine().resume();
    ASSERT_TRUE(resumed) << resumed.error().text();
    host = std::move(twin);
  }
  ASSERT_TRUE(client.ask(host->net())) << client.problem() << host->story();
  std::printf("%llu requests; %zu of 40 checkpoints with disk requests in flight\n", static_cast<unsigned long long>(client.answered()),
              with_disk_requests);
  EXPECT_GE(judge_log(host->disk().content()), client.mutations());
}

// The egress gate in small: a reply leaves once the checkpoint that holds its execution is taken. So no host's death takes an acknowledged
// request back, none is executed twice, and the log on the disk has them all.
TEST(GuestRestore, ClientsSeeOneHistoryThroughManyDeaths) {
  const GuestHostConfig config{.vcpu_count = 1,
                               .command_line = "mode=kv log=1",
                               .with_net = true,
                               .disk = std::vector<std::byte>(kLogSlots * guest::kLogRecordBytes)};
  Dice dice{test_seed() + 1};
  auto host = std::make_unique<GuestHost>(config);
  host->boot();
  KvClient client{test_seed()};
  std::uint64_t lost_executions = 0;
  for (int death = 0; death < 40; ++death) {
    SCOPED_TRACE("death " + std::to_string(death));
    host->net().hold(true);
    GuestCheckpoint checkpoint = take_checkpoint(*host);
    host->net().release(checkpoint.frames_sent);
    for (auto epochs = dice.below(8); epochs > 0; --epochs) {
      if (client.outstanding())
        client.send_again(host->net());
      else
        client.send_next(host->net());
      dice.run_on(3'000);
      checkpoint = take_checkpoint(*host);
      host->net().release(checkpoint.frames_sent);
      client.take_reply(host->net(), std::chrono::milliseconds{1});
      ASSERT_EQ(client.problem(), "");
    }
    if (!client.outstanding()) client.send_next(host->net());
    dice.run_on(3'000);
    lost_executions += host->net().held() > 0 ? 1U : 0U;  // executed, and answered behind the gate
    host->kill();
    auto twin = restore_checkpoint(config, checkpoint);
    const auto resumed = twin->machine().resume();
    ASSERT_TRUE(resumed) << resumed.error().text();
    host = std::move(twin);
    ASSERT_TRUE(client.ask(host->net())) << client.problem() << host->story();
  }
  std::printf("%llu requests answered; %llu deaths after an execution that no checkpoint held\n",
              static_cast<unsigned long long>(client.answered()), static_cast<unsigned long long>(lost_executions));
  EXPECT_GE(client.answered(), 40U);
  EXPECT_GE(judge_log(host->disk().content()), client.mutations());
}

// Disk requests in flight are part of the state and are issued again.
TEST(GuestRestore, DiskRequestsInFlightAreIssuedAgain) {
  const GuestHostConfig config{.command_line = "mode=blklog burst=16",
                               .disk = std::vector<std::byte>(kLogSlots * guest::kLogRecordBytes),
                               .slowest_disk_request = std::chrono::microseconds{500}};
  Dice dice{test_seed() + 2};
  auto host = std::make_unique<GuestHost>(config);
  host->boot();
  std::size_t with_disk_requests = 0;
  for (int death = 0; death < 40; ++death) {
    SCOPED_TRACE("death " + std::to_string(death));
    dice.run_on(10'000);
    const GuestCheckpoint checkpoint = take_checkpoint(*host);
    with_disk_requests += checkpoint.disk_requests > 0 ? 1U : 0U;
    dice.run_on(10'000);
    ASSERT_EQ(host->state(), guest::GuestState::kRunning) << host->story();
    host->kill();
    host = restore_checkpoint(config, checkpoint);
    const guest::Published before = host->published();
    const auto resumed = host->machine().resume();
    ASSERT_TRUE(resumed) << resumed.error().text();
    ASSERT_TRUE(wait_for([&] {
      const guest::Published now = host->published();
      return (now.log_flushed > before.log_flushed + 32 && now.log_read_back > before.log_read_back + 2) ||
             host->state() != guest::GuestState::kRunning;
    })) << "the log does not go on; "
        << host->story();
    ASSERT_EQ(host->state(), guest::GuestState::kRunning) << host->story();
    EXPECT_GE(judge_log(host->disk().content()), before.log_flushed);
  }
  EXPECT_GT(with_disk_requests, 0U);
}

// A guest that waits for its timer is woken by the timer that was armed on another host.
TEST(GuestRestore, ASleeperIsWokenByItsRestoredTimer) {
  const GuestHostConfig config{.command_line = "mode=dirtier pages_per_second=2000 working_set_pages=100"};
  Dice dice{test_seed() + 3};
  auto host = std::make_unique<GuestHost>(config);
  host->boot();
  for (int death = 0; death < 40; ++death) {
    SCOPED_TRACE("death " + std::to_string(death));
    dice.run_on(3'000);
    const GuestCheckpoint checkpoint = take_checkpoint(*host);
    host->kill();
    host = restore_checkpoint(config, checkpoint);
    const std::uint64_t before = host->published().dirtier_pages;
    const auto resumed = host->machine().resume();
    ASSERT_TRUE(resumed) << resumed.error().text();
    ASSERT_TRUE(wait_for([&] { return host->published().dirtier_pages > before + 5; })) << host->story();
  }
}

}  // namespace
}  // namespace understudy::test
