// Links with keys: who is let in, who is not, and what is told of it.
#include <cctype>
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <zmq.hpp>

#include "net/curve_key.h"
#include "net/doorkeeper.h"
#include "net/zmq_link.h"
#include "tests/unit/net/loop_fixture.h"

namespace understudy {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Side = ZmqLinkConfig::Side;

class SecureLinkTest : public LoopTest {
 protected:
  ~SecureLinkTest() override {
    on_loop([this] {
      b_.reset();
      a_.reset();
    });
  }
  ZmqLinkConfig config(Side side, NodeId self, std::string endpoint, std::optional<LinkKeys> keys) {
    return {.side = side,
            .endpoint = std::move(endpoint),
            .local_name = link_name(PairId{7}, self),
            .peer_name = link_name(PairId{7}, peer_of(self)),
            .keys = std::move(keys)};
  }
  // a listens, b connects, with these keys.
  void open(const std::optional<LinkKeys>& a, const std::optional<LinkKeys>& b) {
    on_loop([&] {
      a_ = ZmqLink::create(loop(), context_, config(Side::kBind, NodeId::kA, "tcp://127.0.0.1:*", a)).value();
      a_->on_message([this](const Message& message) { received_ += message.size(); });
      b_ = ZmqLink::create(loop(), context_, config(Side::kConnect, NodeId::kB, a_->endpoint(), b)).value();
    });
  }
  Refusals refused_by_a() {
    return on_loop([this] { return a_->refusals(); });
  }
  bool a_refused(std::string_view what) {
    const bool told = eventually([&] { return a_->refusals().last.find(what) != std::string::npos; });
    if (!told) ADD_FAILURE() << "the last of " << a_->refusals().count << ": " << a_->refusals().last;
    return told;
  }
  // Plain bytes to a's port.
  void shout(const std::string& bytes) {
    zmq::context_t other;
    zmq::socket_t stream{other, ZMQ_STREAM};
    stream.set(zmq::sockopt::linger, 200);
    stream.connect(a_->endpoint());
    zmq::message_t id;
    ASSERT_TRUE(stream.recv(id));
    ASSERT_TRUE(stream.send(zmq::message_t{id.data(), id.size()}, zmq::send_flags::sndmore));
    ASSERT_TRUE(stream.send(zmq::message_t{bytes.data(), bytes.size()}, zmq::send_flags::none));
    ASSERT_TRUE(eventually([this] { return a_->refusals().count > 0; }));
  }

  const CurveSecretKey key_a_ = CurveSecretKey::generate();
  const CurveSecretKey key_b_ = CurveSecretKey::generate();
  const CurveSecretKey other_ = CurveSecretKey::generate();
  const std::shared_ptr<ZmqContext> context_ = ZmqContext::create();
  std::unique_ptr<ZmqLink> a_, b_;
  std::size_t received_ = 0;
};

TEST_F(SecureLinkTest, ThePinnedPeersTalk) {
  open(LinkKeys{key_a_, key_b_.public_key()}, LinkKeys{key_b_, key_a_.public_key()});
  ASSERT_TRUE(eventually([this] { return a_->connected() && b_->connected(); }));
  const std::string text(100'000, 'x');
  on_loop([&] { EXPECT_TRUE(b_->send({Frame::copy_of(std::as_bytes(std::span{text}))})); });
  EXPECT_TRUE(eventually([this] { return received_ == 1; }));
  EXPECT_EQ(refused_by_a().count, 0U);
}

TEST_F(SecureLinkTest, AKeyThatIsNotPinnedIsRefusedAndNamed) {
  open(LinkKeys{key_a_, key_b_.public_key()}, LinkKeys{other_, key_a_.public_key()});
  EXPECT_TRUE(a_refused("127.0.0.1: its key " + other_.public_key().text() + " is not pinned"));
  EXPECT_TRUE(eventually([this] { return b_->refusals().last.ends_with("it does not admit this node's key"); }));
  on_loop([this] { EXPECT_FALSE(a_->connected() || b_->connected()); });
}

TEST_F(SecureLinkTest, ARefusedEndGetsInOnceItsKeyIsPinned) {
  open(LinkKeys{key_a_, other_.public_key()}, LinkKeys{key_b_, key_a_.public_key()});
  ASSERT_TRUE(eventually([this] { return b_->refusals().count >= 2; })) << "it tries again";
  const auto endpoint = on_loop([this] {
    const std::string at = a_->endpoint();
    a_.reset();
    return at;
  });
  ASSERT_TRUE(eventually([&] {
    auto again = ZmqLink::create(loop(), context_, config(Side::kBind, NodeId::kA, endpoint, LinkKeys{key_a_, key_b_.public_key()}));
    if (again) a_ = std::move(*again);
    return again.has_value();
  }));
  EXPECT_TRUE(eventually([this] { return a_->connected() && b_->connected(); }));
}

TEST_F(SecureLinkTest, AnotherKeyAtTheListeningEndIsNotBelieved) {
  open(LinkKeys{other_, key_b_.public_key()}, LinkKeys{key_b_, key_a_.public_key()});
  EXPECT_TRUE(a_refused("it expects another key at this end"));
  on_loop([this] { EXPECT_FALSE(a_->connected() || b_->connected()); });
}

TEST_F(SecureLinkTest, AnEndWithoutKeysDoesNotGetIn) {
  open(LinkKeys{key_a_, key_b_.public_key()}, std::nullopt);
  EXPECT_TRUE(a_refused("one end of this link is secured by keys, and the other is not"));
  on_loop([this] { EXPECT_FALSE(a_->connected() || b_->connected()); });
}

TEST_F(SecureLinkTest, AnEndWithKeysDoesNotTalkToOneWithout) {
  open(std::nullopt, LinkKeys{key_b_, key_a_.public_key()});
  EXPECT_TRUE(eventually([this] { return b_->refusals().count > 0 || a_->refusals().count > 0; }));
  on_loop([this] { EXPECT_FALSE(a_->connected() || b_->connected()); });
}

TEST_F(SecureLinkTest, WhateverElseComesIsCountedAndReachesNobody) {
  const std::string greeting = std::string{"\xff\0\0\0\0\0\0\0\1\x7f\3\0CURVE", 17} + std::string(47, '\0');
  const std::string too_large = greeting + std::string{"\6\x7f\xff\xff\xff\xff\xff\xff\xff", 9} + std::string(4096, 'x');
  const std::string odd_command = greeting + std::string{"\4\7\5HELLO?", 9};
  const std::string older = std::string{"\1\0hello", 7};
  for (const auto& bytes : {std::string(4096, 'z'), std::string(4096, '\xff'), greeting + greeting, too_large, odd_command, older}) {
    open(LinkKeys{key_a_, key_b_.public_key()}, LinkKeys{key_b_, key_a_.public_key()});
    ASSERT_TRUE(eventually([this] { return a_->connected() && b_->connected(); }));
    shout(bytes);
    on_loop([this] {
      EXPECT_THAT(a_->refusals().last, HasSubstr(": "));
      EXPECT_TRUE(a_->connected());
      EXPECT_EQ(a_->counters().strangers, 0U) << "nothing of it came through";
      b_.reset();
      a_.reset();
    });
    EXPECT_EQ(received_, 0U);
  }
}

TEST_F(SecureLinkTest, APeerThatComesAndGoesIsNoRefusal) {
  open(LinkKeys{key_a_, key_b_.public_key()}, LinkKeys{key_b_, key_a_.public_key()});
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(eventually([this] { return a_->connected() && b_->connected(); }));
    on_loop([this] {
      b_.reset();
      b_ = ZmqLink::create(loop(), context_, config(Side::kConnect, NodeId::kB, a_->endpoint(), LinkKeys{key_b_, key_a_.public_key()}))
               .value();
    });
    ASSERT_TRUE(eventually([&] { return a_->counters().connections >= static_cast<std::uint64_t>(round) + 2; }));
  }
  EXPECT_EQ(refused_by_a().last, "");
}

TEST(Doorkeeper, JudgesByDomainAndKey) {
  zmq::context_t context;
  const auto keeper = Doorkeeper::start(context).value();
  const auto known = CurveSecretKey::generate().public_key();
  const auto stranger = CurveSecretKey::generate().public_key();
  const auto door = keeper->open_door(std::vector{known});
  const auto closed = keeper->open_door({});
  const auto bytes = [](const CurvePublicKey& key) { return std::string{key.bytes().begin(), key.bytes().end()}; };
  const auto ask = [&](const std::string& domain, const std::string& mechanism, std::vector<std::string> credentials) {
    std::vector<std::string> request{"1.0", "id 1", domain, "10.0.0.9", "name", mechanism};
    request.insert(request.end(), credentials.begin(), credentials.end());
    return keeper->judge(request);
  };
  EXPECT_THAT(ask(door->domain(), "CURVE", {bytes(known)}), ElementsAre("1.0", "id 1", "200", "OK", "", ""));
  const struct {
    const char* name;
    std::string domain, mechanism;
    std::vector<std::string> credentials;
  } refused[] = {
      {"a stranger's key", door->domain(), "CURVE", {bytes(stranger)}},
      {"another door's", closed->domain(), "CURVE", {bytes(known)}},
      {"no such door", "elsewhere", "CURVE", {bytes(known)}},
      {"no encryption", door->domain(), "NULL", {}},
      {"a password", door->domain(), "PLAIN", {"a", "b"}},
      {"a short key", door->domain(), "CURVE", {bytes(known).substr(1)}},
      {"two keys", door->domain(), "CURVE", {bytes(known), bytes(known)}},
  };
  for (const auto& each : refused) EXPECT_EQ(ask(each.domain, each.mechanism, each.credentials).at(2), "400") << each.name;
  EXPECT_THAT(keeper->judge({}), IsEmpty());
  EXPECT_THAT(keeper->judge(std::vector<std::string>{"2.0", "id", "", "", "", "CURVE"}), IsEmpty());
  const auto first = door->take_refused();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->address, "10.0.0.9");
  EXPECT_EQ(first->key, stranger);
  EXPECT_FALSE(door->take_refused());
  EXPECT_FALSE(Doorkeeper::start(context)) << "one a context";
}

TEST(CurveKey, NoCommandLineMistakesAPublicKeyForAnOptionOrAFile) {
  for (int i = 0; i < 1000; ++i) {
    const std::string text = CurveSecretKey::generate().public_key().text();
    ASSERT_TRUE(std::isalnum(static_cast<unsigned char>(text.front())) != 0) << text;
  }
}

TEST(CurveKey, TextIsReadBackAndNothingElseIs) {
  // RFC 26's test vector: Alice's keys of RFC 26 "Test vectors" as Z85.
  const auto key = CurvePublicKey::parse("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7");
  ASSERT_TRUE(key);
  EXPECT_EQ(key->text(), "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7");
  EXPECT_FALSE(CurvePublicKey::parse(""));
  EXPECT_FALSE(CurvePublicKey::parse("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf"));
  EXPECT_FALSE(CurvePublicKey::parse("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7x"));
  EXPECT_FALSE(CurvePublicKey::parse("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf\""));
  EXPECT_FALSE(CurvePublicKey::parse("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf\xc3"));
  EXPECT_FALSE(CurvePublicKey::parse("#####rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]y")) << "a group above 2^32";
}

class KeyFileTest : public testing::Test {
 protected:
  KeyFileTest() {
    std::string path = (fs::temp_directory_path() / "understudy-keys-XXXXXX").string();
    folder_ = ::mkdtemp(path.data());
    file_ = folder_ / "node.key";
  }
  ~KeyFileTest() override { fs::remove_all(folder_); }
  void write(const std::string& content) {
    std::ofstream{file_, std::ios::binary} << content;
    ::chmod(file_.c_str(), 0600);
  }
  std::string says() {
    const auto key = load_secret_key(file_);
    return key ? "" : key.error().text();
  }

  fs::path folder_, file_;
};

TEST_F(KeyFileTest, IsReadBackAndNeverOverwritten) {
  const auto key = CurveSecretKey::generate();
  ASSERT_TRUE(save_secret_key(file_, key));
  struct stat found {};
  ASSERT_EQ(::stat(file_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0600U);
  const auto read = load_secret_key(file_);
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->bytes(), key.bytes());
  const auto again = save_secret_key(file_, CurveSecretKey::generate());
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), ErrorCode::kRefused);
  EXPECT_EQ(load_secret_key(file_)->bytes(), key.bytes());
}

TEST_F(KeyFileTest, ForOthersEyesIsRefusedWithTheMend) {
  ASSERT_TRUE(save_secret_key(file_, CurveSecretKey::generate()));
  for (const unsigned mode : {0640U, 0604U, 0620U, 0602U, 0601U}) {
    ::chmod(file_.c_str(), mode);
    EXPECT_THAT(says(), HasSubstr("may be used by others than its owner: chmod 600 " + file_.string())) << std::oct << mode;
  }
  ::chmod(file_.c_str(), 0400);
  EXPECT_EQ(says(), "");
}

TEST_F(KeyFileTest, WhatIsNoKeyFileIsOneClearError) {
  EXPECT_THAT(says(), HasSubstr("is not there: make it with `understudy keygen " + file_.string() + "`"));
  const std::string good = CurveSecretKey::generate().file_content();
  const std::string other = CurveSecretKey::generate().file_content();
  write("");
  EXPECT_THAT(says(), HasSubstr("not a key file of `understudy keygen`"));
  write(good.substr(0, good.size() - 1));
  EXPECT_THAT(says(), HasSubstr("damaged"));
  write(good + "x");
  EXPECT_THAT(says(), HasSubstr("damaged"));
  write(good.substr(0, good.find("public")) + other.substr(other.find("public")));
  EXPECT_THAT(says(), HasSubstr("its public key is not that of its secret key"));
  fs::remove(file_);
  fs::create_directory(file_);
  EXPECT_THAT(says(), HasSubstr("is no file"));
}

}  // namespace
}  // namespace understudy
