// A Linux guest at work on disk and network goes on over many dead hosts: its kernel has nothing to complain of, its file system is clean,
// and its Redis has counted without a gap.
#include <cstdlib>
#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include "tests/kvm/guest_kv_client.h"
#include "tests/kvm/linux_start.h"
#include "tests/lab/disk_files.h"
#include "tests/lab/kernel_log.h"
#include "tests/lab/resp.h"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAppendOnlyFile = "/var/lib/redis/appendonlydir/appendonly.aof.1.incr.aof";
constexpr unsigned kDeaths = 12;

// UNDERSTUDY_TEST_DEATHS says another number: tests/soak linux gives hundreds. Where ring 0 is emulated each takes a second.
unsigned deaths_wanted() {
  const char* const wanted = std::getenv("UNDERSTUDY_TEST_DEATHS");
  return wanted == nullptr ? kDeaths : static_cast<unsigned>(std::stoul(wanted));
}

class Wire {
 public:
  explicit Wire(std::uint64_t seed) : random_{seed} {}

  // The guest hears of its neighbour, and gets pings of many sizes.
  void offer(MemoryNet& net) {
    net.inject(test_peer().arp_request());
    for (int i = 0; i < 8; ++i) net.inject(test_peer().echo_request(kPingId, ++sequence_, Frame(random_() % 1400, 7)));
  }
  // Counts the answers among what the guest sent so far.
  void collect(MemoryNet& net) {
    while (const auto frame = net.next_sent(std::chrono::milliseconds{0}))
      if (frame->size() > kIcmpTypeAt && (*frame)[kProtocolAt] == kIcmp && (*frame)[kIcmpTypeAt] == 0) ++answers_;
  }
  std::uint64_t answers() const { return answers_; }
  void run_on(std::uint64_t max_us) { std::this_thread::sleep_for(std::chrono::microseconds{random_() % max_us}); }

 private:
  static constexpr std::uint16_t kPingId = 77;
  static constexpr std::size_t kProtocolAt = 14 + 9;
  static constexpr std::size_t kIcmpTypeAt = 14 + 20;
  static constexpr unsigned char kIcmp = 1;
  std::mt19937_64 random_;
  std::uint16_t sequence_ = 0;
  std::uint64_t answers_ = 0;
};

// A guest whose ring 0 is emulated gets little done in ten milliseconds: it is given up to this long.
template <class Condition>
void give_time(Condition done) {
  constexpr std::chrono::seconds kPatience{2};
  for (const auto end = std::chrono::steady_clock::now() + kPatience; !done() && std::chrono::steady_clock::now() < end;)
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
}

// As the daemon logs the console, which is what the judge reads.
lab::KernelLogFindings kernel_log_of(const std::string& console) {
  std::string log;
  std::istringstream lines{console};
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with('\r')) line.pop_back();
    log += " serial  line=\"" + line + "\"\n";
  }
  return lab::read_kernel_log(log);
}

// How often the file has the command INCR lab:load; a command that is not whole, or another one, fails the test.
std::uint64_t count_increments(std::string_view file) {
  std::uint64_t count = 0;
  while (!file.empty()) {
    const auto command = lab::take_resp(file);
    if (!command || !*command) {
      ADD_FAILURE() << "the append-only file is broken after " << count << " increments";
      break;
    }
    const auto& words = (*command)->items;
    if (words.size() == 2 && words[1].text == "lab:load") ++count;
  }
  return count;
}

class LinuxRestore : public testing::TestWithParam<unsigned> {};

TEST_P(LinuxRestore, GoesOnThroughManyDeathsUnderLoad) {
  const GuestHostConfig config = linux_config(GetParam());
  const unsigned deaths = deaths_wanted();
  auto host = start_linux(config);
  type_line(host->machine(), "mark");
  Wire wire{test_seed() + GetParam()};
  std::string console;
  std::size_t with_disk_requests = 0;
  for (unsigned death = 0; death < deaths; ++death) {
    SCOPED_TRACE("death " + std::to_string(death));
    wire.offer(host->net());
    wire.run_on(10'000);
    if (death % 2 == 0) {
      host->disk().hold();
      give_time([&] { return host->disk().in_flight() > 0; });
    } else {
      give_time([&, before = wire.answers()] {
        wire.collect(host->net());
        return wire.answers() > before && host->disk().completed() > 0;
      });
    }
    wire.run_on(10'000);
    wire.collect(host->net());
    const GuestCheckpoint checkpoint = take_checkpoint(*host);
    with_disk_requests += checkpoint.disk_requests > 0 ? 1U : 0U;
    console += host->serial();
    wire.run_on(2'000);
    ASSERT_FALSE(host->machine().event()) << host->story();
    host->kill();
    auto twin = restore_checkpoint(config, checkpoint);
    if (death % 10 == 0) {
      const auto again = twin->machine().save();
      ASSERT_TRUE(again) << again.error().text();
      EXPECT_EQ(difference_of_states(checkpoint.state, *again), "");
    }
    const auto resumed = twin->machine().resume();
    ASSERT_TRUE(resumed) << resumed.error().text();
    host = std::move(twin);
  }
  const std::uint64_t answers_before = wire.answers();
  EXPECT_TRUE(wait_for([&] {
    wire.offer(host->net());
    wire.run_on(50'000);
    wire.collect(host->net());
    return wire.answers() > answers_before;
  })) << host->story();
  type_line(host->machine(), "poweroff");
  ASSERT_TRUE(wait_for([&] { return host->machine().event().has_value(); }, std::chrono::seconds{600})) << host->story();
  console += host->serial();

  const auto log = kernel_log_of(console);
  EXPECT_TRUE(log.at_rest) << console;
  EXPECT_TRUE(log.whole) << console;
  EXPECT_TRUE(log.complaints.empty()) << log.complaints.front();
  const fs::path image = fs::temp_directory_path() / ("understudy-linux-" + std::to_string(::getpid()) + ".img");
  const auto content = host->disk().content();
  std::ofstream{image, std::ios::binary}.write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
  const MonotonicClock clock;
  const auto clean = lab::check_file_system(clock, image);
  const auto file = lab::read_disk_file(clock, image, kAppendOnlyFile);
  fs::remove(image);
  ASSERT_TRUE(clean) << clean.error().text();
  EXPECT_EQ(*clean, "");
  ASSERT_TRUE(file) << file.error().text();
  const std::uint64_t increments = count_increments(*file);
  std::printf("%u vCPUs: %u deaths, %zu with disk requests in flight; %llu pings answered, %llu increments on the disk\n", GetParam(),
              deaths, with_disk_requests, static_cast<unsigned long long>(wire.answers()), static_cast<unsigned long long>(increments));
  EXPECT_GT(increments, deaths / 24);
  EXPECT_GT(with_disk_requests, 0U);
}

INSTANTIATE_TEST_SUITE_P(Vcpus, LinuxRestore, testing::Values(1U, 4U),
                         [](const auto& instance) { return std::to_string(instance.param) + "Vcpus"; });

}  // namespace
}  // namespace understudy::test
