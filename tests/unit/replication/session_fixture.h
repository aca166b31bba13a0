// A pair of sessions over fakes: two machines, two disks, a gate with a recording port, and a link that moves only when told.
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "net/codec.h"
#include "replication/primary_session.h"
#include "replication/secondary_session.h"
#include "tests/support/fake_disk.h"
#include "tests/support/fake_link.h"
#include "tests/support/fake_machine.h"
#include "tests/support/fake_port.h"

namespace understudy {

using namespace std::chrono_literals;

inline std::vector<std::byte> bytes_of(std::size_t count, std::uint8_t value) { return std::vector<std::byte>(count, std::byte{value}); }

struct PrimaryLog final : PrimaryEvents {
  struct Up {
    Session session;
    Term term;
    bool full = false;
    SessionStart start = SessionStart::kFull;
  };
  void session_up(Session session, Term term, Incarnation, SessionStart start) override {
    ups.push_back({session, term, start == SessionStart::kFull, start});
  }
  void epoch_committed(Session, CommittedEpoch at, const EpochReport& report) override {
    committed.push_back(at);
    reports.push_back(report);
  }
  void session_broken(const std::string& reason) override { broken.push_back(reason); }
  void session_refused(Term peer_promise, const std::string& reason) override {
    promises.push_back(peer_promise);
    refused.push_back(reason);
  }
  void final_epoch_committed(CommittedEpoch at) override { final_at = at; }
  void final_epoch_failed(const std::string& reason) override { final_failed.push_back(reason); }
  void pages_differ(CommittedEpoch, const std::vector<PageIndex>& pages) override {
    differing.insert(differing.end(), pages.begin(), pages.end());
  }
  void scrubbed(const ScrubReport& report, bool verification) override { scrubs.push_back({report, verification}); }

  std::vector<Up> ups;
  std::vector<CommittedEpoch> committed;
  std::vector<EpochReport> reports;
  std::vector<std::string> broken;
  std::vector<std::string> refused;
  std::vector<Term> promises;
  std::optional<CommittedEpoch> final_at;
  std::vector<std::string> final_failed;
  std::vector<PageIndex> differing;
  std::vector<std::pair<ScrubReport, bool>> scrubs;
};

struct SecondaryLog final : SecondaryEvents {
  void session_up(Session session, Term, Incarnation) override { ups.push_back(session); }
  void image_overwritten() override { ++overwritten; }
  void epoch_committed(Session, CommittedEpoch at, const std::string& how) override {
    committed.push_back(at);
    ended = how;
  }
  void activity() override { ++activities; }
  void session_broken(const std::string& reason) override { broken.push_back(reason); }

  std::vector<Session> ups;
  std::vector<CommittedEpoch> committed;
  std::string ended;  // of the latest
  std::vector<std::string> broken;
  std::size_t overwritten = 0;
  std::size_t activities = 0;
};

class SessionTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kPages = 512;
  static constexpr std::size_t kDiskBytes = std::size_t{1} << 20;
  static constexpr PairId kPair{77};
  static constexpr Incarnation kPrimaryIncarnation{1001};
  static constexpr Incarnation kSecondaryIncarnation{2002};
  static constexpr Term kTerm{5};

  SessionTest() { build(); }

  // Again with changed settings.
  void build() {
    primary.reset();
    secondary.reset();
    machine_a = std::make_unique<fake::FakeMachine>(kPages);
    machine_b = std::make_unique<fake::FakeMachine>(kPages);
    machine_b->make_warm();
    links = std::make_unique<fake::FakeLinkPair>();
    pool = *StagingPool::create(staging_buffers, staging_pages);
    gate = *EgressGate::create(port, EgressGateConfig{});
    gate->pair(kTerm);
    disk_a = std::make_unique<fake::FakeDiskStream>(kDiskBytes);
    disk_b = std::make_unique<fake::FakeDiskSink>(kDiskBytes);
    config.pair = kPair;
    config.node = NodeId::kA;
    config.incarnation = kPrimaryIncarnation;
    primary = std::make_unique<PrimarySession>(config, *machine_a, *gate, links->a, *pool, std::vector<DiskStream*>{disk_a.get()}, clock,
                                               primary_log);
    secondary_config.pair = kPair;
    secondary_config.node = NodeId::kB;
    secondary_config.incarnation = kSecondaryIncarnation;
    secondary_config.compatible = [](const MachineFingerprint& theirs, const MachineFingerprint& ours) -> Result<void> {
      if (theirs.vcpu_count != ours.vcpu_count)
        return Error{ErrorCode::kRefused, std::to_string(theirs.vcpu_count) + " vCPUs against " + std::to_string(ours.vcpu_count)};
      return {};
    };
    secondary =
        std::make_unique<SecondarySession>(secondary_config, *machine_b, links->b, std::vector<DiskSink*>{disk_b.get()}, secondary_log);
    links->a.on_message([this](const Message& message) {
      auto decoded = decode(message, kPair);
      if (decoded) primary->receive(*decoded, clock.now());
    });
    links->b.on_message([this](const Message& message) {
      auto decoded = decode(message, kPair);
      if (decoded) secondary->receive(*decoded, clock.now());
    });
    links->a.on_writable([this] { primary->writable(clock.now()); });
    links->b.on_writable([this] { secondary->writable(clock.now()); });
  }

  void start(Session session = Session{1}, Term term = kTerm) {
    secondary->accept(term);
    primary->start({session, term, kSecondaryIncarnation}, clock.now());
  }
  // Lets time pass in steps of 1 ms, with everything moving.
  void run(Duration span) {
    for (Duration passed{}; passed < span; passed += 1ms) {
      step();
    }
  }
  void step() {
    clock.advance(1ms);
    if (links_move) links->deliver();
    primary->tick(clock.now());
    secondary->tick(clock.now());
    if (links_move) links->deliver();
    gate->pump(clock);
  }
  // A session up, and its first epoch committed.
  void protect() {
    start();
    run(100ms);
    ASSERT_TRUE(primary->is_protecting()) << (primary_log.broken.empty() ? "" : primary_log.broken.front());
  }
  bool send_frame(std::uint8_t value) {
    const auto frame = bytes_of(64, value);
    const ConstBytes piece{frame};
    return gate->transmit({}, std::span{&piece, 1});
  }
  bool images_equal() const { return std::ranges::equal(machine_a->memory(), machine_b->memory()) && disk_a->image() == disk_b->image(); }

  ManualClock clock;
  PrimaryConfig config;
  SecondaryConfig secondary_config;
  std::size_t staging_buffers = 4;
  std::size_t staging_pages = 256;
  fake::FakePort port;
  PrimaryLog primary_log;
  SecondaryLog secondary_log;
  bool links_move = true;
  std::unique_ptr<fake::FakeMachine> machine_a;
  std::unique_ptr<fake::FakeMachine> machine_b;
  std::unique_ptr<fake::FakeLinkPair> links;
  std::unique_ptr<StagingPool> pool;
  std::unique_ptr<EgressGate> gate;
  std::unique_ptr<fake::FakeDiskStream> disk_a;
  std::unique_ptr<fake::FakeDiskSink> disk_b;
  std::unique_ptr<SecondarySession> secondary;
  std::unique_ptr<PrimarySession> primary;
};

}  // namespace understudy
