// The lab's arbiters on its real networks, without a guest: each answers both hosts, and keeps its record when it is killed.
#include "tests/lab/lab_arbiter.h"

#include <cstdlib>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/lab/intruder.h"
#include "tests/lab/lab_keys.h"

namespace understudy::lab {
namespace {

using testing::HasSubstr;

constexpr const char* kRest = R"([pair]
name = "lab"
node = "a"
initial_role = "primary"
[vm]
kernel = "/nowhere"
memory_mib = 16
[net]
tap = "tap-guest"
mac = "52:54:00:77:00:10"
service_nic = "svc0"
[replication]
bind = "tcp://10.77.1.1:7001"
peer = "tcp://10.77.1.2:7001"
[heartbeat]
bind = "tcp://10.77.1.1:7002"
peer = "tcp://10.77.1.2:7002"
[state]
dir = "/nowhere"
socket = "/nowhere/sock"

)";

class LabArbiterTest : public testing::TestWithParam<std::string> {
 protected:
  // An operator's word on a host; what he is told, or the error.
  std::string steer(const std::string& host, std::vector<std::string> words) const {
    std::vector<std::string> command{"ip", "netns", "exec", host, (options_.programs / "understudyd").string(), "arbiter"};
    command.insert(command.end(), words.begin(), words.end());
    command.insert(command.end(), {"--config", config_.string()});
    const auto said = run_command(clock_, command, std::chrono::seconds{30});
    return said ? *said : said.error().text();
  }

  void SetUp() override {
    const char* const folder = std::getenv("LAB_DIR");
    ASSERT_NE(folder, nullptr) << "runs inside tests/lab/lab";
    std::error_code ignored;
    options_ = {.kind = arbiter_of(GetParam()).value(),
                .programs = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path(),
                .folder = std::filesystem::path{folder} /
                          (testing::UnitTest::GetInstance()->current_test_info()->name() + std::string{"-arbiter"})};
    std::filesystem::create_directories(options_.folder);
    const bool has_witness = options_.kind == ArbiterKind::kWitness;
    ASSERT_TRUE(keys_.write(options_.folder));
    options_.key = options_.folder / "witness.key";
    options_.admitted = {keys_.of(NodeId::kA).public_key().text(), keys_.of(NodeId::kB).public_key().text()};
    config_ = options_.folder / "node.toml";
    std::ofstream{config_} << kRest << LabArbiter::configuration(options_) << keys_.configuration(options_.folder, NodeId::kA, has_witness);
  }

  const MonotonicClock clock_;
  const LabKeys keys_;
  LabArbiter::Options options_;
  std::filesystem::path config_;
};

TEST_P(LabArbiterTest, AnswersBothHostsAndKeepsItsRecordWhenKilled) {
  auto started = LabArbiter::start(clock_, options_, config_);
  ASSERT_TRUE(started) << started.error().text();
  auto& arbiter = **started;
  const auto fresh = arbiter.show();
  ASSERT_TRUE(fresh) << fresh.error().text();
  EXPECT_THAT(*fresh, HasSubstr("pair lab: no record"));
  EXPECT_THAT(steer("host-b", {"seed", "--term", "7", "--holder", "b", "--incarnation", "22"}), HasSubstr("is seeded: term 7, solo"));
  for (int i = 0; i < 3; ++i) {
    arbiter.kill();
    EXPECT_TRUE(arbiter.check_alive()) << "killed on purpose";
    ASSERT_TRUE(arbiter.restart());
    const auto record = arbiter.show();
    ASSERT_TRUE(record) << record.error().text();
    EXPECT_THAT(*record, HasSubstr("term 7, solo; holder: node b (incarnation 22)"));
    EXPECT_TRUE(arbiter.check_alive());
  }
  EXPECT_THAT(steer("host-b", {"show"}), HasSubstr("term 7, solo"));
  EXPECT_THAT(steer("host-a", {"seed", "--term", "9", "--holder", "a", "--incarnation", "11"}), HasSubstr("the record is intact"));
}

// Without a guest: of the pair's ports the witness's alone.
TEST_P(LabArbiterTest, AnIntruderIsRefusedAndCounted) {
  if (options_.kind != ArbiterKind::kWitness) GTEST_SKIP() << "an etcd keeps its own door";
  auto started = LabArbiter::start(clock_, options_, config_);
  ASSERT_TRUE(started) << started.error().text();
  const auto& arbiter = **started;
  EXPECT_THAT(steer("host-b", {"seed", "--term", "7", "--holder", "b", "--incarnation", "22"}), HasSubstr("is seeded: term 7, solo"));
  const Port port{.what = "witness", .endpoint = LabArbiter::kWitnessEndpoint, .machine = "host-b", .key = keys_.witness().public_key()};
  for (const Attempt attempt : all_attempts()) {
    SCOPED_TRACE(name_of(attempt));
    const auto before = arbiter.refusals().count;
    const auto tried = try_at(port, attempt, keys_.of(NodeId::kB));
    ASSERT_TRUE(tried) << tried.error().text();
    const Instant give_up_at = clock_.now() + std::chrono::seconds{30};
    while (arbiter.refusals().count == before && clock_.now() < give_up_at) std::this_thread::sleep_for(std::chrono::milliseconds{20});
    EXPECT_GT(arbiter.refusals().count, before);
  }
  EXPECT_THAT(steer("host-b", {"show"}), HasSubstr("term 7, solo; holder: node b (incarnation 22)"));
  EXPECT_THAT(steer("host-a", {"seed", "--term", "1", "--holder", "a", "--incarnation", "11"}), HasSubstr("the record is intact"));
  EXPECT_TRUE(arbiter.check_alive());
}

INSTANTIATE_TEST_SUITE_P(Both, LabArbiterTest, testing::ValuesIn(arbiter_process_names()), [](const auto& one) { return one.param; });

}  // namespace
}  // namespace understudy::lab
