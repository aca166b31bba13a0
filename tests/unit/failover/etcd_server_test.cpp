// The arbiter over a real etcd: what it grants survives whatever becomes of the servers.
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "etcd_process.h"
#include "failover/etcd_http.h"
#include "failover/etcd_store.h"

namespace understudy {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr PairId kPair{7};
constexpr NodeIncarnation kFirstA{NodeId::kA, Incarnation{11}};
constexpr NodeIncarnation kFirstB{NodeId::kB, Incarnation{22}};

Proposal propose(ProposalKind kind, NodeIncarnation who, Term expected, std::uint64_t request, std::optional<NodeIncarnation> peer = {}) {
  return {
      .kind = kind, .request = RequestId{request}, .expected_term = expected, .at_least = after(expected), .proposer = who, .peer = peer};
}

class EtcdServerTest : public testing::Test {
 protected:
  static constexpr Duration kTimeout = std::chrono::milliseconds{300};
  static constexpr Duration kHang = std::chrono::seconds{60};

  EtcdServerTest() {
    std::signal(SIGPIPE, SIG_IGN);
    std::string path = (fs::temp_directory_path() / "understudy-etcd-XXXXXX").string();
    folder_ = ::mkdtemp(path.data());
  }
  ~EtcdServerTest() override {
    cluster_.reset();
    fs::remove_all(folder_);
  }
  void start(std::size_t members, const std::string& name = "one") {
    cluster_.reset();
    cluster_ = std::make_unique<EtcdCluster>(folder_ / name, members);
  }
  std::unique_ptr<EtcdStore> store(Duration timeout = kTimeout, std::optional<EtcdTls> tls = {}) const {
    EtcdConfig config{.endpoints = {}, .tls = std::move(tls), .prefix = "default", .timeout = timeout};
    for (const auto& url : cluster_->urls()) config.endpoints.push_back(EtcdEndpoint::parse(url).value());
    auto made = EtcdStore::open(config, kPair, clock_);
    EXPECT_TRUE(made) << made.error().text();
    return std::move(*made);
  }
  Result<ArbiterAnswer> once(EtcdStore& by, const EtcdStore::Request& request) const { return by.serve(request, clock_.now()); }
  // As a node does: again, until it is answered.
  ArbiterAnswer ask(EtcdStore& by, const EtcdStore::Request& request) const {
    const Instant give_up = clock_.now() + kHang;
    while (true) {
      auto answer = once(by, request);
      if (answer) return *answer;
      if (clock_.now() > give_up) {
        ADD_FAILURE() << answer.error().text();
        return {};
      }
      std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
  }
  // Until a member answers, and is set up.
  void set_up(EtcdSetUp how = EtcdSetUp::kNew) const {
    const auto by = store();
    const Instant give_up = clock_.now() + kHang;
    auto made = by->set_up(how);
    while (!made && clock_.now() < give_up) made = by->set_up(how);
    ASSERT_TRUE(made) << made.error().text();
  }
  // A pair, both eligible; a holds the term that is returned.
  Term make_pair(EtcdStore& by) const {
    EXPECT_TRUE(ask(by, propose(ProposalKind::kBootstrap, kFirstA, Term{}, 1)).granted);
    EXPECT_TRUE(ask(by, propose(ProposalKind::kReprotect, kFirstA, Term{1}, 2, kFirstB)).granted);
    return Term{2};
  }

  MonotonicClock clock_;
  fs::path folder_;
  std::unique_ptr<EtcdCluster> cluster_;
};

TEST_F(EtcdServerTest, ALifeOfAPair) {
  start(1);
  set_up();
  const auto a = store(), b = store();
  const auto fresh = ask(*a, WitnessRead{});
  EXPECT_FALSE(fresh.record);
  EXPECT_NE(fresh.store, StoreId{});
  EXPECT_TRUE(ask(*a, propose(ProposalKind::kBootstrap, kFirstA, Term{}, 1)).granted);
  EXPECT_TRUE(ask(*a, propose(ProposalKind::kBootstrap, kFirstA, Term{}, 1)).granted) << "a lost answer, repeated";
  EXPECT_FALSE(ask(*b, propose(ProposalKind::kBootstrap, kFirstB, Term{}, 2)).granted);
  EXPECT_TRUE(ask(*a, propose(ProposalKind::kReprotect, kFirstA, Term{1}, 3, kFirstB)).granted);
  EXPECT_TRUE(ask(*b, propose(ProposalKind::kTakeover, kFirstB, Term{2}, 4)).granted);
  const auto late = ask(*a, propose(ProposalKind::kSolo, kFirstA, Term{2}, 5));
  EXPECT_FALSE(late.granted);
  EXPECT_EQ(late.record->holder, kFirstB);
  EXPECT_EQ(late.record->term, Term{3});
  EXPECT_EQ(late.store, fresh.store);
}

TEST_F(EtcdServerTest, OfTwoNodesThatRaceExactlyOneWins) {
  start(1);
  set_up();
  const auto a = store(), b = store();
  Term term = make_pair(*a);
  std::uint64_t request = 100;
  int won_by_b = 0;
  for (int round = 0; round < 100 && !HasFailure(); ++round) {
    const auto record = *ask(*a, WitnessRead{}).record;
    const auto other = record.holder == kFirstA ? kFirstB : kFirstA;
    const auto solo = propose(ProposalKind::kSolo, record.holder, term, ++request);
    const auto takeover = propose(ProposalKind::kTakeover, other, term, ++request);
    ArbiterAnswer of_a, of_b;
    std::thread rival{[&] { of_b = ask(*b, record.holder == kFirstB ? solo : takeover); }};
    of_a = ask(*a, record.holder == kFirstA ? solo : takeover);
    rival.join();
    EXPECT_NE(of_a.granted, of_b.granted);
    won_by_b += of_b.granted ? 1 : 0;
    EXPECT_EQ(of_a.record, of_b.record) << "the loser is shown what the winner was granted";
    const auto winner = of_a.record->holder;
    const auto again =
        ask(*a, propose(ProposalKind::kReprotect, winner, of_a.record->term, ++request, winner == kFirstA ? kFirstB : kFirstA));
    ASSERT_TRUE(again.granted) << again.reason;
    term = again.record->term;
  }
}

// Two nodes ask without pause while the servers are killed and come back: every grant stands, and none is given twice.
TEST_F(EtcdServerTest, GrantsSurviveServersThatAreKilledUnderLoad) {
  for (const std::size_t members : {1U, 3U}) {
    SCOPED_TRACE(std::to_string(members) + " members");
    start(members, "killed-" + std::to_string(members));
    set_up();
    make_pair(*store());
    std::atomic<bool> over{false};
    std::mutex mutex;
    std::map<Term, std::pair<NodeIncarnation, RequestId>> granted;  // guarded by mutex
    const auto node = [&](NodeIncarnation self, NodeIncarnation peer, std::uint64_t requests) {
      const auto by = store();
      while (!over) {
        const auto record = ask(*by, WitnessRead{}).record;
        if (!record) continue;
        const bool holds = record->holder == self;
        const bool alone = record->mode == PairMode::kSolo;
        if (!holds && alone) continue;  // struck: the holder adds it again
        const auto kind = !holds ? ProposalKind::kTakeover : alone ? ProposalKind::kReprotect : ProposalKind::kRenew;
        const auto asked =
            propose(kind, self, record->term, ++requests, kind == ProposalKind::kReprotect ? std::optional{peer} : std::nullopt);
        const auto answer = ask(*by, asked);  // under one request id until it is settled
        if (!answer.granted) continue;
        const std::lock_guard lock{mutex};
        const bool fresh = granted.emplace(answer.record->term, std::pair{self, asked.request}).second;
        EXPECT_TRUE(fresh) << "term " << answer.record->term.raw() << " granted twice";
        EXPECT_GT(answer.record->term, record->term);
      }
    };
    std::thread a{node, kFirstA, kFirstB, 1'000'000}, b{node, kFirstB, kFirstA, 2'000'000};
    const auto count = [&] {
      const std::lock_guard lock{mutex};
      return granted.size();
    };
    const auto until_more = [&](std::size_t than) {
      const Instant give_up = clock_.now() + kHang;
      while (count() <= than && clock_.now() < give_up) std::this_thread::sleep_for(std::chrono::milliseconds{5});
      EXPECT_GT(count(), than) << "nothing is granted any more";
    };
    until_more(5);
    // With three, whoever leads is among those that are killed one after the other.
    for (std::size_t i = 0; i < 3 && !HasFailure(); ++i) {
      auto& victim = cluster_->member(i % members);
      victim.kill();
      if (members > 1) until_more(count() + 3);
      victim.start();
      until_more(count() + 5);
    }
    over = true;
    a.join();
    b.join();
    const auto last = ask(*store(), WitnessRead{}).record;
    ASSERT_TRUE(last);
    EXPECT_EQ(last->term, granted.rbegin()->first) << "the latest grant is the record";
    EXPECT_EQ(last->holder, granted.rbegin()->second.first);
    EXPECT_EQ(last->request, granted.rbegin()->second.second);
    // Every term between was granted to somebody: none was lost.
    EXPECT_EQ(granted.rbegin()->first.raw() - granted.begin()->first.raw() + 1, granted.size());
  }
}

TEST_F(EtcdServerTest, AStoppedServerIsATimeoutThatSettlesLater) {
  start(1);
  set_up();
  const auto a = store(), b = store();
  const Term term = make_pair(*a);
  cluster_->member(0).signal(SIGSTOP);
  const auto asked = propose(ProposalKind::kTakeover, kFirstB, term, 50);
  for (int i = 0; i < 3; ++i) {
    const auto silent = once(*b, asked);
    ASSERT_FALSE(silent);
    EXPECT_EQ(silent.error().code(), ErrorCode::kTimeout) << silent.error().text();
  }
  cluster_->member(0).signal(SIGCONT);
  const auto answer = ask(*b, asked);
  EXPECT_TRUE(answer.granted) << answer.reason;
  EXPECT_EQ(answer.record->term, after(term)) << "granted once";
  EXPECT_FALSE(ask(*a, propose(ProposalKind::kSolo, kFirstA, term, 51)).granted);
}

TEST_F(EtcdServerTest, ARebuiltClusterGrantsNothingUntilSeeded) {
  start(1);
  set_up();
  const auto before = store();
  make_pair(*before);
  const auto was = ask(*before, WitnessRead{}).store;
  start(1, "rebuilt");
  const auto by = store(std::chrono::seconds{5});
  const auto refused = [&](const EtcdStore::Request& request) {
    auto answer = once(*by, request);
    const Instant give_up = clock_.now() + kHang;
    while (!answer && answer.error().code() != ErrorCode::kRefused && clock_.now() < give_up) answer = once(*by, request);
    ASSERT_FALSE(answer);
    EXPECT_THAT(answer.error().text(), HasSubstr("never set up as an arbiter"));
  };
  refused(WitnessRead{});
  refused(propose(ProposalKind::kBootstrap, kFirstA, Term{}, 9));
  refused(propose(ProposalKind::kTakeover, kFirstB, Term{2}, 10));
  set_up(EtcdSetUp::kReplacement);
  EXPECT_NE(ask(*by, WitnessRead{}).store, was) << "the nodes see that it is another";
  EXPECT_FALSE(ask(*by, propose(ProposalKind::kBootstrap, kFirstA, Term{}, 11)).granted);
  EXPECT_FALSE(ask(*by, propose(ProposalKind::kRenew, kFirstA, Term{2}, 12)).granted);
  EXPECT_FALSE(ask(*by, WitnessSeed{Term{2}, kFirstA}).granted) << "not above what is known to have been";
  EXPECT_TRUE(ask(*by, WitnessSeed{Term{5}, kFirstA}).granted);
  EXPECT_FALSE(ask(*by, propose(ProposalKind::kTakeover, kFirstB, Term{5}, 13)).granted);
  EXPECT_TRUE(ask(*by, propose(ProposalKind::kRenew, kFirstA, Term{5}, 14)).granted);
}

class EtcdTlsTest : public EtcdServerTest {
 protected:
  fs::path file(const std::string& name) const { return folder_ / name; }
  void openssl(const std::string& arguments) const {
    const auto command = "cd " + folder_.string() + " && openssl " + arguments + " >>openssl.log 2>&1";
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  // A CA, and a certificate signed by it for this address.
  void certify(const std::string& ca, const std::string& name, const std::string& address) const {
    const std::string key = " -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 ";
    if (!fs::exists(file(ca + ".pem"))) openssl("req -x509" + key + "-keyout " + ca + ".key -out " + ca + ".pem -subj /CN=" + ca);
    std::ofstream{file(name + ".ext")} << "subjectAltName=IP:" << address << "\nextendedKeyUsage=serverAuth,clientAuth\n";
    openssl("req" + key + "-keyout " + name + ".key -out " + name + ".csr -subj /CN=" + name);
    openssl("x509 -req -days 2 -in " + name + ".csr -CA " + ca + ".pem -CAkey " + ca + ".key -CAcreateserial -out " + name +
            ".pem -extfile " + name + ".ext");
  }
  void start_tls(const std::string& server, const std::string& name) {
    cluster_ =
        std::make_unique<EtcdCluster>(folder_ / name, 1,
                                      std::vector<std::string>{"--cert-file", file(server + ".pem"), "--key-file", file(server + ".key"),
                                                               "--client-cert-auth", "--trusted-ca-file", file("ca.pem")});
  }
  // The error of a member that answers, or does not.
  std::string fails(const EtcdTls& tls) const {
    const auto by = store(std::chrono::seconds{5}, tls);
    auto made = by->set_up(EtcdSetUp::kNew);
    for (int i = 0; i < 500 && !made && made.error().text().find("no connection") != std::string::npos; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds{20});
      made = by->set_up(EtcdSetUp::kNew);
    }
    return made ? "set up" : made.error().text();
  }
};

TEST_F(EtcdTlsTest, BothSidesMustShowACertificate) {
  certify("ca", "server", "127.0.0.1");
  certify("ca", "stranger", "127.0.0.2");
  certify("ca", "client", "127.0.0.1");
  certify("other-ca", "impostor", "127.0.0.1");
  const EtcdTls good{.ca = file("ca.pem"), .cert = file("client.pem"), .key = file("client.key")};
  start_tls("server", "tls");
  EXPECT_EQ(fails(good), "set up");
  EXPECT_TRUE(once(*store(std::chrono::seconds{5}, good), propose(ProposalKind::kBootstrap, kFirstA, Term{}, 1))->granted);
  for (const auto& tls : {EtcdTls{.ca = file("ca.pem"), .cert = {}, .key = {}},
                          EtcdTls{.ca = file("ca.pem"), .cert = file("impostor.pem"), .key = file("impostor.key")}})
    EXPECT_THAT(fails(tls), HasSubstr("the connection broke")) << "TLS 1.3 tells a client after its handshake";
  EXPECT_THAT(fails({.ca = file("other-ca.pem"), .cert = file("client.pem"), .key = file("client.key")}),
              HasSubstr("its certificate is not accepted: unable to get local issuer certificate"));
  EXPECT_THAT(EtcdHttp::create(EtcdEndpoint::parse(cluster_->url(0)).value(),
                               EtcdTls{.ca = file("ca.pem"), .cert = file("client.pem"), .key = file("server.key")})
                  .error()
                  .text(),
              HasSubstr("do not fit"));
  start_tls("stranger", "tls-stranger");
  EXPECT_THAT(fails(good), HasSubstr("its certificate is not accepted: it is another address's"));
}

}  // namespace
}  // namespace understudy
