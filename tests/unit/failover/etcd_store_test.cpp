#include "failover/etcd_store.h"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_etcd.h"
#include "witness_rules.h"

namespace understudy {
namespace {

using testing::HasSubstr;
using namespace witness_rules;

constexpr PairId kPair{7};
constexpr std::uint64_t kCluster = 77;
const EtcdKeys kKeys{"default", kPair};

Error gone() { return Error{ErrorCode::kUnavailable, "connection refused"}; }

class EtcdStoreTest : public testing::Test {
 protected:
  EtcdStore store(std::vector<FakeMember::Deliver> members = {{}}, Duration timeout = std::chrono::seconds{10}) {
    EtcdStore::Members made;
    for (auto& deliver : members)
      made.push_back(std::make_unique<FakeMember>(etcd_, "etcd-" + std::to_string(made.size() + 1), std::move(deliver)));
    return EtcdStore{std::move(made), {.endpoints = {}, .tls = {}, .prefix = "default", .timeout = timeout}, kPair, clock_};
  }
  Result<ArbiterAnswer> serve(EtcdStore& by, const EtcdStore::Request& request) { return by.serve(request, clock_.now()); }
  Result<WitnessIdentity> set_up(EtcdStore& by, EtcdSetUp how = EtcdSetUp::kNew) { return by.set_up(how); }
  void keep(const WitnessPair& pair, const WitnessIdentity& identity) {
    etcd_.forget_everything();
    etcd_.set_cluster(identity.store.raw());
    etcd_.put(kKeys.marker, encode_etcd_identity(kKeys.marker, {identity.store.raw(), identity}));
    if (pair.record || pair.forgotten != Term{}) etcd_.put(kKeys.pair, encode_etcd_pair(kKeys.pair, {identity.store, pair}));
  }

  ManualClock clock_;
  FakeEtcd etcd_{kCluster};
};

TEST_F(EtcdStoreTest, DecidesByTheWitnessesRules) {
  auto subject = store();
  for (const auto& c : cases()) {
    SCOPED_TRACE(c.name);
    keep(c.before, c.witness);
    const auto decision = decide(c.before, c.asked, c.witness);
    const auto answer = serve(subject, c.asked);
    ASSERT_TRUE(answer) << answer.error().text();
    EXPECT_EQ(answer->granted, c.granted);
    EXPECT_EQ(answer->store, c.witness.store);
    EXPECT_EQ(answer->record, decision.answer.record);
    EXPECT_EQ(answer->reason, decision.answer.reason);
    const auto kept = serve(subject, WitnessRead{});
    ASSERT_TRUE(kept) << kept.error().text();
    EXPECT_EQ(kept->record, decision.changed ? decision.changed->record : c.before.record);
    const auto again = serve(subject, c.asked);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->granted, c.granted) << "a lost answer is given again";
  }
}

// As for the witness, with an etcd that loses requests and answers at every step: the call is repeated until it is answered.
TEST_F(EtcdStoreTest, NoTermHasTwoHoldersAndNobodyStruckIsGranted) {
  std::mt19937_64 random{1};
  const FakeMember::Deliver careless = [&](const std::string&, const FakeMember::Serve& serve) -> Result<std::string> {
    switch (random() % 8) {
      case 0:
        return gone();  // the request was lost
      case 1:
        (void)serve();
        return Error{ErrorCode::kTimeout, "no answer"};  // the answer was
      default:
        return serve();
    }
  };
  auto subject = store({careless, careless, careless});
  const auto until_answered = [&](const EtcdStore::Request& request) {
    auto answer = serve(subject, request);
    while (!answer) answer = serve(subject, request);
    return *answer;
  };
  play_random_histories(
      60, {.start = [&] { keep({}, kWitness); },
           .decide = [&](const Proposal& asked) { return until_answered(asked); },
           .kept = [&] { return WitnessPair{.record = until_answered(WitnessRead{}).record, .made_by = {}, .forgotten = {}}; }});
}

TEST_F(EtcdStoreTest, AnEmptyClusterGrantsNothingUntilItIsSetUp) {
  auto subject = store();
  for (const EtcdStore::Request& request :
       std::initializer_list<EtcdStore::Request>{WitnessRead{}, proposal(ProposalKind::kBootstrap, kA1, 0), WitnessSeed{Term{3}, kA1}}) {
    const auto answer = serve(subject, request);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code(), ErrorCode::kRefused);
    EXPECT_THAT(answer.error().text(), HasSubstr("etcd at etcd-1: this cluster was never set up as an arbiter (there is no key "
                                                 "/understudy/default/arbiter)"));
  }
  EXPECT_EQ(etcd_.keys(), 0U);
  ASSERT_TRUE(set_up(subject));
  EXPECT_NE(serve(subject, WitnessRead{})->store, StoreId{});
  EXPECT_TRUE(serve(subject, proposal(ProposalKind::kBootstrap, kA1, 0))->granted);
}

TEST_F(EtcdStoreTest, SettingUpTwiceChangesNothing) {
  auto subject = store();
  ASSERT_TRUE(set_up(subject));
  const auto again = set_up(subject);
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->amnesiac);
  const auto displaced = set_up(subject, EtcdSetUp::kReplacement);
  ASSERT_FALSE(displaced);
  EXPECT_THAT(displaced.error().text(), HasSubstr("it is whole"));
}

TEST_F(EtcdStoreTest, AReplacementBootstrapsNobodyAndIsSeeded) {
  auto subject = store();
  ASSERT_TRUE(set_up(subject, EtcdSetUp::kReplacement));
  EXPECT_TRUE(set_up(subject)->amnesiac) << "stays so, whatever it is set up as";
  EXPECT_TRUE(set_up(subject, EtcdSetUp::kReplacement)) << "its answer was lost";
  const auto refused = serve(subject, proposal(ProposalKind::kBootstrap, kA1, 0));
  ASSERT_TRUE(refused);
  EXPECT_FALSE(refused->granted);
  EXPECT_TRUE(serve(subject, WitnessSeed{Term{6}, kB1})->granted);
  EXPECT_TRUE(serve(subject, WitnessSeed{Term{6}, kB1})->granted) << "its answer was lost";
  EXPECT_FALSE(serve(subject, proposal(ProposalKind::kTakeover, kA1, 6))->granted);
  EXPECT_TRUE(serve(subject, proposal(ProposalKind::kRenew, kB1, 6))->granted);
}

TEST_F(EtcdStoreTest, WhatAClusterHasForgottenIsKeptThere) {
  auto subject = store();
  ASSERT_TRUE(set_up(subject));
  EXPECT_FALSE(serve(subject, proposal(ProposalKind::kRenew, kB1, 5))->granted);
  auto another = store();
  const auto bootstrap = serve(another, proposal(ProposalKind::kBootstrap, kA1, 0));
  ASSERT_TRUE(bootstrap);
  EXPECT_THAT(bootstrap->reason, HasSubstr("has forgotten term 5"));
  EXPECT_FALSE(serve(another, WitnessSeed{Term{5}, kB1})->granted);
  EXPECT_TRUE(serve(another, WitnessSeed{Term{6}, kB1})->granted);
}

// A snapshot that is restored under another token or other addresses has another cluster id.
TEST_F(EtcdStoreTest, ABackupGrantsNothingUntilItIsSeeded) {
  keep(kPairAB, kWitness);
  auto subject = store();
  etcd_.set_cluster(78);
  const auto takeover = proposal(ProposalKind::kTakeover, kB1, 5);
  EXPECT_THAT(serve(subject, takeover).error().text(), HasSubstr("restored from another's backup"));
  EXPECT_THAT(serve(subject, WitnessSeed{Term{9}, kA1}).error().text(), HasSubstr("restored from another's backup"));
  for (const auto how : {EtcdSetUp::kNew, EtcdSetUp::kReplacement})
    EXPECT_THAT(set_up(subject, how).error().text(), HasSubstr("restored from another's backup")) << "it is neither new nor empty";
  const auto restored = set_up(subject, EtcdSetUp::kRestored);
  ASSERT_TRUE(restored);
  EXPECT_TRUE(restored->amnesiac);
  for (const EtcdStore::Request& request : std::initializer_list<EtcdStore::Request>{WitnessRead{}, takeover}) {
    const auto answer = serve(subject, request);
    ASSERT_FALSE(answer) << "an old record is no news of who may run";
    EXPECT_EQ(answer.error().code(), ErrorCode::kRefused);
  }
  EXPECT_FALSE(serve(subject, WitnessSeed{Term{6}, kA1})->granted) << "term 6 may have been granted after the backup";
  EXPECT_TRUE(serve(subject, WitnessSeed{Term{7}, kA1})->granted);
  EXPECT_EQ(serve(subject, WitnessRead{})->store, restored->store) << "the nodes see that it is another";
  EXPECT_TRUE(serve(subject, proposal(ProposalKind::kRenew, kA1, 7))->granted);
}

// Under the same token and addresses it has the same id, and only its revision tells: to whoever saw a later one.
TEST_F(EtcdStoreTest, ABackupUnderTheSameClusterIdIsSeenByItsRevision) {
  keep(kPairAB, kWitness);
  const auto backup = etcd_.backup();
  auto holder = store(), candidate = store();
  ASSERT_TRUE(serve(holder, proposal(ProposalKind::kSolo, kA1, 5, {}, 600))->granted);
  etcd_.restore(backup);
  const auto read = serve(holder, WitnessRead{});
  ASSERT_TRUE(read) << read.error().text();
  const auto takeover = serve(candidate, proposal(ProposalKind::kTakeover, kB1, 5));
  ASSERT_TRUE(takeover);
  EXPECT_FALSE(takeover->granted) << "the holder went solo in term 6";
  EXPECT_THAT(takeover->reason, HasSubstr("has forgotten term 6"));
  EXPECT_FALSE(serve(holder, WitnessSeed{Term{6}, kA1})->granted);
  EXPECT_TRUE(serve(holder, WitnessSeed{Term{7}, kA1})->granted);
  EXPECT_TRUE(serve(holder, proposal(ProposalKind::kRenew, kA1, 7))->granted);
}

TEST_F(EtcdStoreTest, AnEmptiedClusterUnderTheSameIdStartsNoPair) {
  keep({}, kWitness);
  const auto backup = etcd_.backup();
  auto subject = store();
  ASSERT_TRUE(serve(subject, proposal(ProposalKind::kBootstrap, kA1, 0))->granted);
  etcd_.restore(backup);
  EXPECT_FALSE(serve(subject, WitnessRead{})->record);
  auto other = store();
  EXPECT_FALSE(serve(other, proposal(ProposalKind::kBootstrap, kB1, 0))->granted);
}

// A backup that takes the cluster's place between the decision and its commit, and holds the very revision that was decided upon.
TEST_F(EtcdStoreTest, WhatIsWrittenToABackupIsNoGrant) {
  keep(kPairAB, kWitness);
  const auto backup = etcd_.backup();
  bool restore = false;
  auto subject = store({[&](const std::string& json, const FakeMember::Serve& serve_it) -> Result<std::string> {
    if (restore && json.find("compare") != std::string::npos) {
      etcd_.restore(backup);
      restore = false;
    }
    return serve_it();
  }});
  etcd_.put("another's", {});
  etcd_.put("another's", {});
  restore = true;
  EXPECT_FALSE(serve(subject, proposal(ProposalKind::kTakeover, kB1, 5)));
  const auto again = serve(subject, proposal(ProposalKind::kTakeover, kB1, 5));
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_FALSE(again->granted) << "nor is it one later";
}

// An operator who knows of a backup that nobody noticed says so.
TEST_F(EtcdStoreTest, WhatIsCalledRestoredMustBeSeeded) {
  keep(kPairAB, kWitness);
  auto subject = store();
  ASSERT_TRUE(set_up(subject, EtcdSetUp::kRestored));
  EXPECT_FALSE(serve(subject, proposal(ProposalKind::kTakeover, kB1, 5)));
  EXPECT_TRUE(serve(subject, WitnessSeed{Term{7}, kB1})->granted);
}

TEST_F(EtcdStoreTest, EndpointsOfTwoClustersAreNotSetUp) {
  FakeEtcd other{99};
  EtcdStore::Members members;
  members.push_back(std::make_unique<FakeMember>(etcd_, "etcd-1"));
  members.push_back(std::make_unique<FakeMember>(other, "etcd-2"));
  EtcdStore subject{std::move(members), {}, kPair, clock_};
  const auto outcome = set_up(subject);
  ASSERT_FALSE(outcome);
  EXPECT_THAT(outcome.error().text(), HasSubstr("etcd-2: belongs to another cluster"));
  EXPECT_EQ(etcd_.keys() + other.keys(), 0U);
}

TEST_F(EtcdStoreTest, WhoLosesTheRaceDecidesAgain) {
  keep(kPairAB, kWitness);
  int between = 0;
  auto rival = store();
  auto subject = store({[&](const std::string& json, const FakeMember::Serve& serve_it) -> Result<std::string> {
    // The holder goes solo between the candidate's read and its commit.
    if (json.find("compare") != std::string::npos && between++ == 0) {
      EXPECT_TRUE(serve(rival, proposal(ProposalKind::kSolo, kA1, 5, {}, 600))->granted);
    }
    return serve_it();
  }});
  const auto answer = serve(subject, proposal(ProposalKind::kTakeover, kB1, 5));
  ASSERT_TRUE(answer) << answer.error().text();
  EXPECT_FALSE(answer->granted);
  EXPECT_THAT(answer->reason, HasSubstr("the record moved on: it is at term 6"));
  EXPECT_EQ(answer->record->holder, kA1);
}

TEST_F(EtcdStoreTest, ARecordThatNeverStandsStillIsGivenUp) {
  keep(kPairAB, kWitness);
  std::uint64_t others = 0;
  auto subject = store({[&](const std::string& json, const FakeMember::Serve& serve_it) -> Result<std::string> {
    if (json.find("compare") != std::string::npos) {
      etcd_.put(kKeys.pair, encode_etcd_pair(kKeys.pair, {StoreId{kCluster}, kPairAB}));
      ++others;
    }
    return serve_it();
  }});
  const auto answer = serve(subject, proposal(ProposalKind::kTakeover, kB1, 5));
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().text(), HasSubstr("changed under each of 16 decisions"));
  EXPECT_EQ(others, 16U);
}

TEST_F(EtcdStoreTest, AnExchangedClusterIsNoGrant) {
  keep(kPairAB, kWitness);
  auto subject = store({[&](const std::string& json, const FakeMember::Serve& serve_it) -> Result<std::string> {
    if (json.find("compare") != std::string::npos) etcd_.set_cluster(78);  // the same keys at the same revisions, from a backup
    return serve_it();
  }});
  const auto answer = serve(subject, proposal(ProposalKind::kTakeover, kB1, 5));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::kRefused);
}

TEST_F(EtcdStoreTest, ALostAnswerIsSettledByTheNextMember) {
  keep(kPairAB, kWitness);
  auto subject = store({[&](const std::string& json, const FakeMember::Serve& serve_it) -> Result<std::string> {
                          auto body = serve_it();
                          if (json.find("compare") != std::string::npos) return Error{ErrorCode::kTimeout, "no answer"};
                          return body;
                        },
                        {}});
  const auto answer = serve(subject, proposal(ProposalKind::kTakeover, kB1, 5));
  ASSERT_TRUE(answer) << answer.error().text();
  EXPECT_TRUE(answer->granted);
  EXPECT_EQ(answer->record->term, Term{6}) << "granted once";
}

TEST_F(EtcdStoreTest, MembersAreTriedInTurnAndTheOneThatAnsweredIsAskedFirst) {
  keep({}, kWitness);
  std::string asked;
  bool second_lives = true;
  const auto member = [&](char name, const bool* lives) {
    return [&, name, lives](const std::string&, const FakeMember::Serve& serve_it) -> Result<std::string> {
      asked += name;
      if (lives != nullptr && *lives) return serve_it();
      return gone();
    };
  };
  const bool third_lives = true;
  auto subject = store({member('1', nullptr), member('2', &second_lives), member('3', &third_lives)});
  EXPECT_TRUE(serve(subject, WitnessRead{}));
  EXPECT_TRUE(serve(subject, WitnessRead{}));
  EXPECT_EQ(asked, "122");
  asked.clear();
  second_lives = false;
  EXPECT_TRUE(serve(subject, WitnessRead{}));
  EXPECT_TRUE(serve(subject, WitnessRead{}));
  EXPECT_EQ(asked, "233");
}

TEST_F(EtcdStoreTest, AHungMemberCostsItsDeadlineAndNoMore) {
  keep({}, kWitness);
  constexpr Duration kTimeout = std::chrono::milliseconds{500};
  const FakeMember::Deliver hung = [&](const std::string&, const FakeMember::Serve&) -> Result<std::string> {
    clock_.advance(kTimeout);
    return Error{ErrorCode::kTimeout, "no answer within 500 ms"};
  };
  auto subject = store({hung, {}}, kTimeout);
  EXPECT_EQ(subject.patience(), 2 * kTimeout);
  const auto from = clock_.now();
  EXPECT_TRUE(subject.serve(WitnessRead{}, clock_.now()));
  EXPECT_EQ(clock_.now() - from, kTimeout);
  auto all_hung = store({hung, hung}, kTimeout);
  const auto answer = all_hung.serve(WitnessRead{}, clock_.now());
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::kTimeout);
  EXPECT_EQ(answer.error().text(), "etcd: etcd-1: no answer within 500 ms; etcd-2: no answer within 500 ms");
}

// Calls come every 100 ms and wait for each other; what is left of one's time when its turn comes would not do for a slow etcd.
TEST_F(EtcdStoreTest, ACallHasItsFullTimeOrNone) {
  keep({}, kWitness);
  std::vector<Duration> budgets;
  class Budgeted final : public EtcdConnection {
   public:
    Budgeted(FakeEtcd& etcd, std::vector<Duration>& budgets) : inner_{etcd, "etcd-1"}, budgets_{budgets} {}
    Result<std::string> post(const std::string& path, const std::string& json, Duration budget) override {
      budgets_.push_back(budget);
      return inner_.post(path, json, budget);
    }
    void cut() override {}
    std::string endpoint() const override { return "etcd-1"; }

   private:
    FakeMember inner_;
    std::vector<Duration>& budgets_;
  };
  constexpr Duration kTimeout = std::chrono::milliseconds{500};
  EtcdStore::Members members;
  members.push_back(std::make_unique<Budgeted>(etcd_, budgets));
  EtcdStore subject{std::move(members), {.endpoints = {}, .tls = {}, .prefix = "default", .timeout = kTimeout}, kPair, clock_};
  const auto called = clock_.now();
  clock_.advance(kTimeout);
  EXPECT_TRUE(subject.serve(WitnessRead{}, called));
  EXPECT_EQ(budgets, std::vector{kTimeout});
  clock_.advance(std::chrono::milliseconds{1});
  EXPECT_EQ(subject.serve(WitnessRead{}, called).error().text(), "etcd: the calls before this one took its time");
  EXPECT_EQ(budgets.size(), 1U) << "nobody was asked";
}

TEST_F(EtcdStoreTest, DamageIsAnErrorAndNeverANewPair) {
  auto subject = store();
  keep({}, kWitness);
  etcd_.put(kKeys.pair, std::vector<std::byte>(40, std::byte{0x5a}));
  const auto bootstrap = serve(subject, proposal(ProposalKind::kBootstrap, kA1, 0));
  ASSERT_FALSE(bootstrap);
  EXPECT_THAT(bootstrap.error().text(), HasSubstr("value of /understudy/default/7: "));
  EXPECT_FALSE(serve(subject, WitnessRead{}));
  keep(kPairAB, kWitness);
  etcd_.put(kKeys.marker, {});
  EXPECT_THAT(serve(subject, WitnessRead{}).error().text(), HasSubstr("value of /understudy/default/arbiter: "));
  EXPECT_FALSE(set_up(subject));
}

TEST_F(EtcdStoreTest, AnAnswerWithoutSenseIsAskedOfTheNext) {
  keep({}, kWitness);
  auto subject = store({[](const std::string&, const FakeMember::Serve&) -> Result<std::string> { return "<html>"; }, {}});
  EXPECT_TRUE(serve(subject, WitnessRead{}));
  auto alone = store({[](const std::string&, const FakeMember::Serve&) -> Result<std::string> { return "<html>"; }});
  EXPECT_EQ(serve(alone, WitnessRead{}).error().code(), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace understudy
