// The test guest on our machine: it boots, answers, logs, and starts its vCPUs.
#include <cstring>

#include <gtest/gtest.h>

#include "tests/guest/block_log.h"
#include "tests/guest/torture_check.h"
#include "tests/kvm/guest_kv_client.h"

namespace understudy::test {
namespace {

using guest::BlockLogRecord;
using guest::BlockLogSummary;
constexpr std::size_t kDiskBytes = 256 * guest::kLogRecordBytes;

BlockLogSummary scan(const std::vector<std::byte>& disk) {
  const std::size_t slots = disk.size() / guest::kLogRecordBytes;
  std::vector<std::uint64_t> memory(slots);
  guest::BlockLogScan scan{memory};
  for (std::size_t slot = 0; slot < slots; ++slot) {
    BlockLogRecord record{};
    std::memcpy(&record, disk.data() + slot * guest::kLogRecordBytes, sizeof record);
    scan.add(slot, record);
  }
  return scan.summary();
}

// Waits until the guest's service loop stands still, as it must without a cause to turn.
bool sleeps(GuestHost& host) {
  return wait_for([&] {
    const std::uint64_t turns = host.published().loop_turns;
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
    return host.published().loop_turns == turns;
  });
}

class GuestBoots : public ::testing::TestWithParam<unsigned> {};

TEST_P(GuestBoots, WithEveryVcpu) {
  GuestHost host{{.memory_bytes = std::uint64_t{64} << 20, .vcpu_count = GetParam(), .command_line = "mode=torture"}};
  host.boot();
  EXPECT_EQ(host.published().cpu_count, GetParam());
  EXPECT_TRUE(wait_for([&] {
    const guest::Published page = host.published();
    bool all = true;
    for (unsigned cpu = 0; cpu < GetParam(); ++cpu) all = all && page.cpus[cpu].torture_checks > 0;
    return all;
  })) << host.story();
  ASSERT_TRUE(host.machine().pause(kPauseDeadline));
  const auto verdict = guest::check_torture(host.memory()->file());
  EXPECT_TRUE(verdict.whole()) << *verdict.contradiction;
  EXPECT_NE(host.serial().find("guest: ready cpus=" + std::to_string(GetParam())), std::string::npos) << host.serial();
}
INSTANTIATE_TEST_SUITE_P(Vcpus, GuestBoots, ::testing::Values(1U, 2U, 4U, 8U));

TEST(GuestService, AnswersArpEchoAndKv) {
  GuestHost host{{.command_line = "mode=kv", .with_net = true}};
  host.boot();
  const auto peer = test_peer();
  host.net().inject(peer.arp_request());
  const auto arp = host.net().next_sent(std::chrono::seconds{30});
  ASSERT_TRUE(arp) << host.story();
  EXPECT_TRUE(peer.is_arp_reply(*arp));
  for (const std::size_t size : {1UL, 56UL, 1472UL}) {
    const Frame payload(size, 0x42);
    host.net().inject(peer.echo_request(3, 4, payload));
    const auto echo = host.net().next_sent(std::chrono::seconds{30});
    ASSERT_TRUE(echo) << host.story();
    EXPECT_EQ(peer.echo_reply_payload(*echo, 3, 4), payload);
  }
  KvClient client{test_seed()};
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(client.ask(host.net())) << client.problem() << host.story();
  EXPECT_EQ(host.published().kv_sequence, 500U);
}

// More frames than both rings hold, at once: each is answered.
TEST(GuestService, AnswersABurst) {
  GuestHost host{{.command_line = "mode=kv", .with_net = true}};
  host.boot();
  constexpr std::uint16_t kFrames = 1'000;
  for (std::uint16_t i = 0; i < kFrames; ++i) host.net().inject(test_peer().echo_request(1, i, Frame(64, 1)));
  for (std::uint16_t i = 0; i < kFrames; ++i) {
    const auto echo = host.net().next_sent(std::chrono::seconds{30});
    ASSERT_TRUE(echo) << "after " << i << " answers; " << host.story();
    EXPECT_TRUE(test_peer().echo_reply_payload(*echo, 1, i)) << i;
  }
}

// While the host takes no frame, nothing is lost and the guest waits; then everything arrives in order.
TEST(GuestService, WaitsForRoomToTransmit) {
  GuestHost host{{.command_line = "mode=kv", .with_net = true}};
  host.boot();
  host.net().refuse(true);
  constexpr std::uint16_t kFrames = 600;
  for (std::uint16_t i = 0; i < kFrames; ++i) host.net().inject(test_peer().echo_request(1, i, Frame(64, 1)));
  ASSERT_TRUE(wait_for([&] { return host.published().frames_sent >= 100; })) << host.story();
  EXPECT_TRUE(sleeps(host)) << "it turns though it cannot answer";
  EXPECT_FALSE(host.net().next_sent(std::chrono::milliseconds{0}));
  host.net().refuse(false);
  for (std::uint16_t i = 0; i < kFrames; ++i) {
    const auto echo = host.net().next_sent(std::chrono::seconds{30});
    ASSERT_TRUE(echo) << "after " << i << " answers; " << host.story();
    EXPECT_TRUE(test_peer().echo_reply_payload(*echo, 1, i)) << i;
  }
}

TEST(GuestService, IdleGuestSleeps) {
  GuestHost host{{.vcpu_count = 2, .command_line = "mode=kv", .with_net = true}};
  host.boot();
  KvClient client{1};
  ASSERT_TRUE(client.ask(host.net())) << client.problem();
  EXPECT_TRUE(sleeps(host)) << "the idle guest keeps turning: " << host.published().loop_turns;
  ASSERT_TRUE(client.ask(host.net())) << client.problem();
}

TEST(GuestService, KvLogsBeforeItReplies) {
  GuestHost host{{.command_line = "mode=kv log=1", .with_net = true, .disk = std::vector<std::byte>(kDiskBytes)}};
  host.boot();
  KvClient client{test_seed()};
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(client.ask(host.net())) << client.problem() << host.story();
    // The reply is here: so its record is on the disk, flushed.
    const BlockLogSummary log = scan(host.disk().content());
    ASSERT_EQ(log.last_contiguous, client.mutations());
  }
}

TEST(GuestService, BlockLogGoesOnAfterAReboot) {
  std::vector<std::byte> disk(kDiskBytes);
  std::uint64_t flushed = 0;
  for (int boot = 0; boot < 3; ++boot) {
    GuestHost host{{.command_line = "mode=blklog burst=16", .disk = disk}};
    host.boot();
    EXPECT_GE(host.published().log_scanned_last, flushed) << "flushed before the reboot, and gone";
    const std::uint64_t start = host.published().log_flushed;
    ASSERT_TRUE(wait_for([&] { return host.published().log_flushed > start + 2 * 256 && host.published().log_read_back > 3; }))
        << host.story();
    flushed = host.published().log_flushed;
    host.kill();
    disk = host.disk().content();
    const BlockLogSummary log = scan(disk);
    EXPECT_TRUE(log.kept_every_flushed_record());
    EXPECT_GE(log.last_contiguous, flushed);
  }
}

TEST(GuestService, KvBesideTortureAndDirtier) {
  for (const char* const beside :
       {"background=torture duty_percent=50", "background=dirtier pages_per_second=20000 working_set_pages=500"}) {
    GuestHost host{{.vcpu_count = 2, .command_line = std::string{"mode=kv "} + beside, .with_net = true}};
    host.boot();
    KvClient client{test_seed()};
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(client.ask(host.net())) << client.problem() << host.story();
    EXPECT_TRUE(wait_for([&] { return host.published().cpus[1].torture_checks > 1 || host.published().dirtier_pages > 2'000; }))
        << host.story();
  }
}

TEST(GuestService, RefusesWhatItCannotRunWith) {
  struct Case {
    const char* command_line;
    const char* says;
  };
  const Case cases[] = {
      {"mode=tea", "mode=tea on the command line cannot be"},
      {"mode=blklog", "needs a writable disk"},
      {"mode=kv background=torture", "needs a second vCPU"},
      {"mode=dirtier working_set_pages=700000", "dirtier needs more memory"},
  };
  for (const auto& c : cases) {
    GuestHost host{{.command_line = c.command_line}};
    EXPECT_THROW(host.boot(), std::runtime_error);
    EXPECT_EQ(host.state(), guest::GuestState::kRefused);
    EXPECT_TRUE(wait_for([&] { return host.serial().find(c.says) != std::string::npos; })) << c.command_line << ": " << host.serial();
  }
}

}  // namespace
}  // namespace understudy::test
