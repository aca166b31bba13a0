// Client, server and store together, over loopback.
#include <atomic>
#include <filesystem>
#include <optional>
#include <string>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zmq.hpp>

#include "failover/witness_client.h"
#include "failover/witness_codec.h"
#include "failover/witness_server.h"
#include "failover/witness_store.h"
#include "net/codec.h"
#include "net/zmq_socket.h"
#include "replication/small_db.h"
#include "tests/unit/net/loop_fixture.h"

namespace understudy {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr PairId kPair{7};
constexpr NodeIncarnation kFirstA{NodeId::kA, Incarnation{11}};
constexpr NodeIncarnation kFirstB{NodeId::kB, Incarnation{22}};

class Directory {
 public:
  Directory() {
    std::string path = (fs::temp_directory_path() / "understudy-witness-XXXXXX").string();
    path_ = ::mkdtemp(path.data());
  }
  ~Directory() { fs::remove_all(path_); }
  fs::path store() const { return path_ / "store"; }

 private:
  fs::path path_;
};

TEST(WitnessStore, IsNeverMadeByAccident) {
  const Directory directory;
  const auto missing = WitnessStore::open(directory.store(), WitnessStore::Open::kExisting);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().text(), HasSubstr("set the witness up as new"));
  EXPECT_FALSE(fs::exists(directory.store()));
}

TEST(WitnessStore, KeepsItsIdentityAndRecords) {
  const Directory directory;
  StoreId id;
  const WitnessPair pair{
      .record = ArbiterRecord{.term = Term{3}, .mode = PairMode::kSolo, .holder = kFirstA, .eligible = {kFirstA}, .request = {}},
      .made_by = {},
      .forgotten = Term{2}};
  {
    const auto store = WitnessStore::open(directory.store(), WitnessStore::Open::kNew);
    ASSERT_TRUE(store) << store.error().text();
    id = (*store)->identity().store;
    EXPECT_NE(id, StoreId{});
    EXPECT_FALSE((*store)->identity().amnesiac);
    EXPECT_EQ(*(*store)->load(kPair), WitnessPair{});
    ASSERT_TRUE((*store)->save(kPair, pair));
  }
  for (const auto how : {WitnessStore::Open::kExisting, WitnessStore::Open::kNew}) {
    const auto store = WitnessStore::open(directory.store(), how);
    ASSERT_TRUE(store) << store.error().text();
    EXPECT_EQ((*store)->identity().store, id);
    EXPECT_EQ(*(*store)->load(kPair), pair);
    EXPECT_EQ(*(*store)->load(PairId{8}), WitnessPair{});
  }
}

TEST(WitnessStore, AReplacementIsAmnesiacAndDisplacesNothing) {
  const Directory directory;
  {
    const auto store = WitnessStore::open(directory.store(), WitnessStore::Open::kReplacement);
    ASSERT_TRUE(store) << store.error().text();
    EXPECT_TRUE((*store)->identity().amnesiac);
  }
  {
    const auto store = WitnessStore::open(directory.store(), WitnessStore::Open::kNew);
    ASSERT_TRUE(store);
    EXPECT_TRUE((*store)->identity().amnesiac) << "stays so, whatever it is opened as";
  }
  const auto again = WitnessStore::open(directory.store(), WitnessStore::Open::kReplacement);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), ErrorCode::kRefused);
}

class WitnessTest : public LoopTest {
 protected:
  WitnessTest() { start(WitnessStore::Open::kNew, "tcp://127.0.0.1:*"); }
  ~WitnessTest() override {
    on_loop([this] {
      a_.reset();
      b_.reset();
      server_.reset();
    });
  }
  void start(WitnessStore::Open how, const std::string& endpoint, const std::optional<ServiceKeys>& keys = std::nullopt) {
    auto store = WitnessStore::open(directory_.store(), how);
    ASSERT_TRUE(store) << store.error().text();
    store_ = std::move(*store);
    on_loop([&] {
      auto server = WitnessServer::create(loop(), context_, *store_, endpoint, keys);
      ASSERT_TRUE(server) << server.error().text();
      server_ = std::move(*server);
    });
  }
  void stop() {
    on_loop([this] { server_.reset(); });
    store_.reset();
  }
  std::unique_ptr<WitnessClient> client(NodeIncarnation self, const std::string& endpoint, Duration timeout = kHang, PairId pair = kPair) {
    auto made = on_loop(
        [&] { return WitnessClient::create(loop(), context_, {.endpoint = endpoint, .pair = pair, .self = self, .timeout = timeout}); });
    EXPECT_TRUE(made) << made.error().text();
    EXPECT_TRUE(server_ == nullptr || eventually([&] { return (*made)->connected(); }));
    return std::move(*made);
  }
  void connect_both() {
    a_ = client(kFirstA, server_->endpoint());
    b_ = client(kFirstB, server_->endpoint());
  }
  // Calls, and waits for the callback.
  template <class Call>
  Result<ArbiterAnswer> ask(Call call) {
    std::optional<Result<ArbiterAnswer>> answer;
    on_loop([&] { call([&](Result<ArbiterAnswer> got) { answer = std::move(got); }); });
    EXPECT_TRUE(eventually([&] { return answer.has_value(); }));
    return answer ? *answer : Result<ArbiterAnswer>{Error{ErrorCode::kFailed, "hang"}};
  }
  Result<ArbiterAnswer> propose(WitnessClient& by, const Proposal& proposal) {
    return ask([&](auto done) { by.propose(proposal, done); });
  }
  Result<ArbiterAnswer> read(WitnessClient& by) {
    return ask([&](auto done) { by.read(done); });
  }
  static Proposal proposal(ProposalKind kind, NodeIncarnation who, std::uint64_t expected, std::uint64_t request,
                           std::optional<NodeIncarnation> peer = {}) {
    return {.kind = kind,
            .request = RequestId{request},
            .expected_term = Term{expected},
            .at_least = Term{expected + 1},
            .proposer = who,
            .peer = peer};
  }

  const Directory directory_;
  const std::shared_ptr<ZmqContext> context_ = ZmqContext::create();
  std::unique_ptr<WitnessStore> store_;
  std::unique_ptr<WitnessServer> server_;
  std::unique_ptr<WitnessClient> a_, b_;
};

TEST_F(WitnessTest, ALifeOfAPair) {
  connect_both();
  EXPECT_EQ(read(*a_)->record, std::nullopt);
  EXPECT_EQ(read(*a_)->store, store_->identity().store);
  EXPECT_TRUE(propose(*a_, proposal(ProposalKind::kBootstrap, kFirstA, 0, 1))->granted);
  EXPECT_FALSE(propose(*b_, proposal(ProposalKind::kBootstrap, kFirstB, 0, 2))->granted);
  EXPECT_TRUE(propose(*a_, proposal(ProposalKind::kReprotect, kFirstA, 1, 3, kFirstB))->granted);
  EXPECT_TRUE(propose(*b_, proposal(ProposalKind::kTakeover, kFirstB, 2, 4))->granted);
  const auto late = propose(*a_, proposal(ProposalKind::kSolo, kFirstA, 2, 5));
  ASSERT_TRUE(late);
  EXPECT_FALSE(late->granted);
  EXPECT_EQ(late->record->holder, kFirstB);
  EXPECT_EQ(late->record->term, Term{3});
  on_loop([this] {
    EXPECT_EQ(server_->counters().grants, 3U);
    EXPECT_EQ(server_->counters().refusals, 2U);
    EXPECT_EQ(server_->counters().reads, 2U);
  });
}

TEST_F(WitnessTest, PairsDoNotMeet) {
  a_ = client(kFirstA, server_->endpoint(), kHang, PairId{7});
  b_ = client(kFirstA, server_->endpoint(), kHang, PairId{8});
  EXPECT_TRUE(propose(*a_, proposal(ProposalKind::kBootstrap, kFirstA, 0, 1))->granted);
  EXPECT_EQ(read(*b_)->record, std::nullopt);
  EXPECT_TRUE(propose(*b_, proposal(ProposalKind::kBootstrap, kFirstA, 0, 1))->granted);
}

TEST_F(WitnessTest, AGrantOutlivesTheWitnessAndIsGivenAgain) {
  connect_both();
  const auto asked = proposal(ProposalKind::kBootstrap, kFirstA, 0, 1);
  EXPECT_TRUE(propose(*a_, asked)->granted);
  const auto endpoint = server_->endpoint();
  stop();
  EXPECT_TRUE(eventually([this] { return !a_->connected(); }));
  EXPECT_EQ(propose(*a_, asked).error().code(), ErrorCode::kUnavailable);
  start(WitnessStore::Open::kExisting, endpoint);
  ASSERT_TRUE(eventually([this] { return a_->connected() && b_->connected(); }));
  EXPECT_TRUE(propose(*a_, asked)->granted) << "the same request gets the same grant";
  EXPECT_FALSE(propose(*b_, proposal(ProposalKind::kTakeover, kFirstB, 1, 2))->granted);
}

TEST_F(WitnessTest, AnEmptyWitnessOfAKnownPairGrantsOnlyAfterASeed) {
  connect_both();
  EXPECT_FALSE(propose(*b_, proposal(ProposalKind::kRenew, kFirstB, 5, 1))->granted);
  const auto bootstrap = propose(*a_, proposal(ProposalKind::kBootstrap, kFirstA, 0, 2));
  EXPECT_THAT(bootstrap->reason, HasSubstr("has forgotten term 5"));
  const auto seeded = ask([&](auto done) { b_->seed(Term{6}, kFirstB, done); });
  ASSERT_TRUE(seeded);
  EXPECT_TRUE(seeded->granted) << seeded->reason;
  EXPECT_TRUE(propose(*b_, proposal(ProposalKind::kRenew, kFirstB, 6, 3))->granted);
}

TEST_F(WitnessTest, NobodySpeaksInAnothersName) {
  connect_both();
  const auto forged = propose(*b_, proposal(ProposalKind::kBootstrap, kFirstA, 0, 1));
  ASSERT_FALSE(forged);
  EXPECT_THAT(forged.error().text(), HasSubstr("another node's name"));
  EXPECT_EQ(read(*a_)->record, std::nullopt);
}

// A client's connection begins with an empty message; what comes after it.
zmq::message_t receive_request(zmq::socket_t& from, zmq::message_t& name) {
  zmq::message_t received;
  for (int message = 0; message < 2; ++message) {
    EXPECT_TRUE(from.recv(name));
    EXPECT_TRUE(from.recv(received));
    EXPECT_EQ(received.size() == 0, message == 0);
  }
  return received;
}

TEST_F(WitnessTest, ASilentWitnessIsATimeoutAndALateAnswerIsDropped) {
  // A peer that takes requests and answers when told to.
  zmq::socket_t silent{context_->get(), ZMQ_ROUTER};
  silent.set(zmq::sockopt::linger, 0);
  silent.set(zmq::sockopt::rcvtimeo, 30'000);
  silent.bind("tcp://127.0.0.1:*");
  a_ = client(kFirstA, silent.get(zmq::sockopt::last_endpoint), std::chrono::milliseconds{50});
  int callbacks = 0;
  std::optional<ErrorCode> code;
  on_loop([&] {
    a_->read([&](const Result<ArbiterAnswer>& answer) {
      ++callbacks;
      code = answer ? ErrorCode::kFailed : answer.error().code();
    });
  });
  EXPECT_TRUE(eventually([&] { return callbacks > 0; }));
  EXPECT_EQ(code, ErrorCode::kTimeout);
  zmq::message_t name;
  const auto envelope = receive_request(silent, name);
  const auto request = decode({Frame{{envelope.data<std::byte>(), envelope.size()}, nullptr}}, kPair);
  ASSERT_TRUE(request) << request.error().text();
  const auto call = decode_witness_request(request->payload.bytes());
  ASSERT_TRUE(call);
  auto header = request->envelope;
  header.kind = kWitnessAnswerKind;
  const auto answer = encode(header, encode_witness_reply({.call = call->call, .answer = ArbiterAnswer{}}));
  silent.send(name, zmq::send_flags::sndmore);
  const auto bytes = answer[0].bytes();
  silent.send(zmq::message_t{bytes.data(), bytes.size()}, zmq::send_flags::none);
  EXPECT_TRUE(eventually([&] { return a_->counters().late_answers == 1; }));
  EXPECT_EQ(on_loop([&] { return callbacks; }), 1);
  EXPECT_EQ(on_loop([&] { return a_->counters().timeouts; }), 1U);
}

TEST_F(WitnessTest, OnlyAdmittedNodesAreHeard) {
  stop();
  const auto witness_key = CurveSecretKey::generate(), node_key = CurveSecretKey::generate(), other_key = CurveSecretKey::generate();
  start(WitnessStore::Open::kExisting, "tcp://127.0.0.1:*", ServiceKeys{witness_key, {node_key.public_key()}});
  const auto keyed = [&](const std::optional<LinkKeys>& keys) {
    return on_loop([&] {
      return std::move(
          WitnessClient::create(loop(), context_,
                                {.endpoint = server_->endpoint(), .keys = keys, .pair = kPair, .self = kFirstA, .timeout = kHang})
              .value());
    });
  };
  a_ = keyed(LinkKeys{node_key, witness_key.public_key()});
  ASSERT_TRUE(eventually([this] { return a_->connected(); }));
  EXPECT_TRUE(propose(*a_, proposal(ProposalKind::kBootstrap, kFirstA, 0, 1))->granted);
  EXPECT_EQ(on_loop([this] { return server_->refusals().count; }), 0U);
  b_ = keyed(LinkKeys{other_key, witness_key.public_key()});
  EXPECT_TRUE(eventually([&] { return server_->refusals().last.ends_with(other_key.public_key().text() + " is not pinned"); }));
  EXPECT_TRUE(eventually([this] { return b_->refusals().count > 0; }));
  const auto unheard = read(*b_);
  ASSERT_FALSE(unheard);
  EXPECT_EQ(unheard.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(unheard.error().text(), HasSubstr("it does not admit this node's key"));
  on_loop([this] { b_.reset(); });
  b_ = keyed(std::nullopt);
  EXPECT_TRUE(
      eventually([&] { return server_->refusals().last.ends_with("one end of this link is secured by keys, and the other is not"); }));
  EXPECT_EQ(on_loop([this] { return server_->counters().malformed; }), 0U) << "not a byte of theirs was decoded";
}

TEST_F(WitnessTest, OutstandingCallsAreBounded) {
  zmq::socket_t silent{context_->get(), ZMQ_ROUTER};
  silent.set(zmq::sockopt::linger, 0);
  silent.bind("tcp://127.0.0.1:*");
  a_ = client(kFirstA, silent.get(zmq::sockopt::last_endpoint));
  std::vector<ErrorCode> failed;
  bool inside = false;
  on_loop([&] {
    inside = true;
    for (int i = 0; i < 20; ++i) {
      a_->read([&](const Result<ArbiterAnswer>& answer) {
        EXPECT_FALSE(inside) << "never from within the call";
        if (!answer) failed.push_back(answer.error().code());
      });
    }
    inside = false;
  });
  EXPECT_TRUE(eventually([&] { return failed.size() == 4; }));
  EXPECT_THAT(failed, testing::Each(ErrorCode::kBusy));
  // The others are forgotten with the client, and not called back.
  on_loop([&] { a_.reset(); });
  EXPECT_EQ(on_loop([&] { return failed.size(); }), 4U);
}

TEST_F(WitnessTest, GarbageIsCountedAndHarmsNobody) {
  connect_both();
  zmq::socket_t vandal{context_->get(), ZMQ_DEALER};
  vandal.set(zmq::sockopt::linger, 1000);
  vandal.connect(server_->endpoint());
  const auto text_of = [](const Frame& frame) {
    return std::string_view{reinterpret_cast<const char*>(frame.bytes().data()), frame.bytes().size()};
  };
  const auto send = [&](std::string_view bytes, bool more = false) {
    vandal.send(zmq::message_t{bytes.data(), bytes.size()}, more ? zmq::send_flags::sndmore : zmq::send_flags::none);
  };
  send("");  // as a connection's first word
  send("garbage");
  send(std::string(4096, '\xff'));
  send("two", true);
  send("frames");
  const auto good = encode({.kind = kWitnessRequestKind, .pair = kPair}, encode_witness_request({.call = 1, .what = WitnessRead{}}))[0];
  const auto text = text_of(good);
  send(text.substr(0, text.size() - 8));
  std::string flipped{text};
  flipped[40] = static_cast<char>(flipped[40] ^ 4);
  send(flipped);
  const auto wrong_kind = encode({.kind = 5, .pair = kPair}, {})[0];
  send(text_of(wrong_kind));
  const auto no_request = encode({.kind = kWitnessRequestKind, .pair = kPair}, std::as_bytes(std::span{"not capnp", 8}))[0];
  send(text_of(no_request));
  EXPECT_TRUE(eventually([this] { return server_->counters().malformed == 7; }));
  EXPECT_TRUE(propose(*a_, proposal(ProposalKind::kBootstrap, kFirstA, 0, 1))->granted);
}

TEST_F(WitnessTest, AWitnessOfAnotherReleaseIsNamed) {
  zmq::socket_t other{context_->get(), ZMQ_ROUTER};
  other.set(zmq::sockopt::linger, 0);
  other.set(zmq::sockopt::rcvtimeo, 30'000);
  other.bind("tcp://127.0.0.1:*");
  a_ = client(kFirstA, other.get(zmq::sockopt::last_endpoint));
  std::optional<Result<ArbiterAnswer>> answer;
  on_loop([&] { a_->read([&](Result<ArbiterAnswer> got) { answer = std::move(got); }); });
  zmq::message_t name;
  auto request = receive_request(other, name);
  // Its wire version, in the envelope's first word after table and root pointer.
  request.data<std::uint8_t>()[16 + 4] = 2;
  other.send(name, zmq::send_flags::sndmore);
  other.send(request, zmq::send_flags::none);
  ASSERT_TRUE(eventually([&] { return answer.has_value(); }));
  ASSERT_FALSE(*answer);
  EXPECT_EQ(answer->error().code(), ErrorCode::kUnsupportedVersion);
  EXPECT_THAT(answer->error().text(), HasSubstr("wire version 2, this node 1"));
}

TEST_F(WitnessTest, ADamagedRecordIsAnErrorAndNeverANewPair) {
  const auto endpoint = server_->endpoint();
  stop();
  {
    auto db = SmallDb::open(directory_.store(), SmallDb::IfMissing::kFail);
    ASSERT_TRUE(db);
    // Sealed well, and yet no record.
    ASSERT_TRUE((*db)->put("pair/7", std::vector<std::byte>(8, std::byte{0xff}), SmallDb::Durability::kSynced));
  }
  start(WitnessStore::Open::kExisting, endpoint);
  connect_both();
  const auto answer = propose(*a_, proposal(ProposalKind::kBootstrap, kFirstA, 0, 1));
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().text(), HasSubstr("record of pair 7"));
  EXPECT_EQ(on_loop([this] { return server_->counters().store_failures; }), 1U);
}

TEST_F(WitnessTest, TwoNodesThatRaceForATermGetOneGrant) {
  connect_both();
  ASSERT_TRUE(propose(*a_, proposal(ProposalKind::kBootstrap, kFirstA, 0, 1))->granted);
  ASSERT_TRUE(propose(*a_, proposal(ProposalKind::kReprotect, kFirstA, 1, 2, kFirstB))->granted);
  for (std::uint64_t round = 0; round < 20; ++round) {
    const auto term = read(*a_)->record->term.raw();
    int grants = 0, answers = 0;
    const auto count = [&](const Result<ArbiterAnswer>& answer) {
      ++answers;
      if (answer && answer->granted) ++grants;
    };
    const auto holder = read(*a_)->record->holder;
    const auto other = holder == kFirstA ? kFirstB : kA;
    on_loop([&] {
      (holder == kFirstA ? a_ : b_)->propose(proposal(ProposalKind::kSolo, holder, term, 1000 + round * 3), count);
      (holder == kFirstA ? b_ : a_)->propose(proposal(ProposalKind::kTakeover, other, term, 1001 + round * 3), count);
    });
    ASSERT_TRUE(eventually([&] { return answers == 2; }));
    EXPECT_EQ(grants, 1);
    const auto now = read(*a_)->record;
    ASSERT_TRUE(propose(now->holder == kFirstA ? *a_ : *b_, proposal(ProposalKind::kReprotect, now->holder, now->term.raw(),
                                                                     1002 + round * 3, now->holder == kFirstA ? kFirstB : kFirstA))
                    ->granted);
  }
}

TEST_F(WitnessTest, BadEndpointsAreOneClearError) {
  on_loop([this] {
    const auto taken = WitnessServer::create(loop(), context_, *store_, server_->endpoint(), std::nullopt);
    ASSERT_FALSE(taken);
    EXPECT_THAT(taken.error().text(), HasSubstr("witness: bind " + server_->endpoint() + ": Address already in use"));
    const auto nonsense = WitnessClient::create(loop(), context_, {.endpoint = "nonsense", .pair = kPair, .self = kFirstA});
    ASSERT_FALSE(nonsense);
    EXPECT_EQ(nonsense.error().code(), ErrorCode::kInvalid);
  });
}

}  // namespace
}  // namespace understudy
