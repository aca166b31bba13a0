// Accepted and refused configurations: a refusal names the line and what was expected.
#include "failover/daemon/config.h"

#include <cstdlib>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy {
namespace {

constexpr std::string_view kWhole = R"([pair]
name = "shop"
node = "b"
initial_role = "secondary"

[vm]
kernel = "/var/lib/understudy/vmlinux"
cmdline = "console=ttyS0"
memory_mib = 128
vcpus = 2

[net]
tap = "tap-guest"
mac = "52:54:00:12:34:56"
guest_ip = "10.77.0.10"
service_nic = "svc0"

[[disk]]
id = "root"
image = "/var/lib/understudy/root.img"

[replication]
bind = "tcp://10.77.1.2:7001"
peer = "tcp://10.77.1.1:7001"

[heartbeat]
bind = "tcp://10.77.1.2:7002"
peer = "tcp://10.77.1.1:7002"

[witness]
endpoint = "tcp://10.77.2.3:7003"

[security]
key = "/etc/understudy/node.key"
peer_key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
witness_key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"

[state]
dir = "/var/lib/understudy/shop"
socket = "/run/understudy/shop.sock"

[timing]
epoch_ms = 20
)";

constexpr std::string_view kSecurityTable = R"([security]
key = "/etc/understudy/node.key"
peer_key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
witness_key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID")";

std::string replaced(std::string_view from, std::string_view to) {
  std::string text{kWhole};
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  // A pair without a witness pins none.
  const auto key = text.find("witness_key");
  if (to.starts_with("[etcd]") || to == "[manual]") text.erase(key, text.find('\n', key) + 1 - key);
  return text;
}

TEST(Config, ReadsAWholeFile) {
  const auto config = parse_config(kWhole, "b.toml");
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->pair.name, "shop");
  EXPECT_EQ(config->pair.id, pair_id_of("shop"));
  EXPECT_EQ(config->pair.node, NodeId::kB);
  EXPECT_FALSE(config->pair.initial_primary);
  EXPECT_EQ(config->vm.memory_bytes, std::uint64_t{128} << 20);
  EXPECT_EQ(config->vm.vcpus, 2u);
  EXPECT_TRUE(config->vm.virtio_on_cmdline);
  EXPECT_FALSE(config->vm.boot_protocol.has_value());
  EXPECT_EQ(config->net.mac.text(), "52:54:00:12:34:56");
  EXPECT_EQ(config->net.guest_ip->text(), "10.77.0.10");
  ASSERT_EQ(config->disks.size(), 1u);
  EXPECT_EQ(config->disks[0].id, "root");
  EXPECT_FALSE(config->security.insecure);
  EXPECT_EQ(config->security.key_file, "/etc/understudy/node.key");
  EXPECT_EQ(config->security.peer->text(), "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7");
  EXPECT_EQ(config->security.witness->text(), "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID");
  EXPECT_TRUE(config->control.operators.empty() && config->control.viewers.empty());
  EXPECT_EQ(config->timing.epoch, std::chrono::milliseconds{20});
  EXPECT_EQ(config->timing.takeover_after, std::chrono::milliseconds{400});
  EXPECT_EQ(config->scrub_pages_per_second, 256U);
}

TEST(Config, RefusalsNameTheLineAndWhatWasExpected) {
  struct Case {
    std::string_view name, from, to, says;
  };
  const Case cases[] = {
      {"wrong key", "epoch_ms = 20", "epcoh_ms = 20", "b.toml:43: [timing] epcoh_ms: unknown key; expected one of: epoch_ms"},
      {"wrong type", "epoch_ms = 20", "epoch_ms = \"20\"",
       "b.toml:43: [timing] epoch_ms: expected a whole number from 1 to 10000, found a string"},
      {"no such CPU model", "vcpus = 2", "cpu_model = \"i386\"",
       "b.toml:10: [vm] cpu_model: expected one of host, x86-64-v2, x86-64-v3, x86-64-v4, found \"i386\""},
      {"no protocol", "vcpus = 2", "boot_protocol = \"efi\"",
       "b.toml:10: [vm] boot_protocol: expected \"auto\", \"linux64\" or \"pvh\", found \"efi\""},
      {"out of range", "vcpus = 2", "vcpus = 9", "b.toml:10: [vm] vcpus: expected a whole number from 1 to 8, found 9"},
      {"balloon as large as the guest", "vcpus = 2", "balloon_mib = 128",
       "b.toml:10: [vm] balloon_mib: expected a whole number from 0 to 127, found 128"},
      {"missing key", "kernel = \"/var/lib/understudy/vmlinux\"", "", "[vm] kernel: expected a string, found nothing"},
      {"missing table", "[witness]\nendpoint = \"tcp://10.77.2.3:7003\"", "",
       "b.toml: expected a table [witness], [etcd] or [manual], found none"},
      {"unknown table", "[timing]", "[timings]", "unknown table or key \"timings\""},
      {"multicast MAC", "52:54", "53:54", "b.toml:14: [net] mac: expected a unicast address"},
      {"scrub too fast", "peer = \"tcp://10.77.1.1:7001\"", "peer = \"tcp://10.77.1.1:7001\"\nscrub_kib_per_s = 2000000",
       "[replication] scrub_kib_per_s: expected a whole number from 0 to 1048576, found 2000000"},
      {"bad address", "10.77.0.10", "10.77.0.256", "[net] guest_ip: expected an IPv4 address"},
      {"bad node", "node = \"b\"", "node = \"c\"", "b.toml:3: [pair] node: expected \"a\" or \"b\", found \"c\""},
      {"bad role", "\"secondary\"", "\"master\"", "[pair] initial_role: expected \"primary\" or \"secondary\""},
      {"bad endpoint", "tcp://10.77.2.3:7003", "10.77.2.3:7003", "[witness] endpoint: expected an endpoint like"},
      {"not TOML", "[pair]", "[pair", "b.toml:1: not TOML"},
      {"bad wish", "vcpus = 2", "on_reset = \"nothing\"", "b.toml:10: [vm] on_reset: expected \"reboot\" or \"stop\", found \"nothing\""},
      {"bad panic", "vcpus = 2", "on_panic = \"pray\"", "[vm] on_panic: expected \"reboot\", \"nothing\" or \"stop\", found \"pray\""},
      {"stalled too soon", "epoch_ms = 20", "epoch_ms = 2000", "[timing] stalled_after_ms: expected at least twice epoch_ms"},
      {"unconfirmed too soon", "epoch_ms = 20", "epoch_ms = 40\nack_timeout_ms = 79",
       "[timing] ack_timeout_ms: expected at least twice epoch_ms"},
      {"takeover too soon", "epoch_ms = 20", "takeover_after_ms = 100",
       "[timing] takeover_after_ms: expected at least three times heartbeat_ms"},
      {"no security", kSecurityTable, "",
       "b.toml: expected a table [security] with key, peer_key and witness_key: make this node's key with `understudy keygen FILE`, and "
       "learn the peer's with `understudy pair`"},
      {"no key", "key = \"/etc/understudy/node.key\"", "",
       "b.toml:33: [security] key: expected the file of this node's secret key, found nothing: make it with `understudy keygen FILE`"},
      {"no peer's key", "peer_key = \"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7\"", "",
       "b.toml:33: [security] peer_key: expected the peer's public key, found nothing: `understudy pair` on both hosts exchanges them"},
      {"no witness's key", "witness_key = \"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID\"", "",
       "b.toml:33: [security] witness_key: expected the witness's public key, found nothing: `understudy keygen` printed it there"},
      {"a key that is none", "rq:rM>", "rq:rM", "b.toml:35: [security] peer_key: expected a public key of 40 characters"},
      {"one key for two", "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7",
       "b.toml:36: [security] witness_key: is the peer's key: each has one of its own"},
      {"insecure with keys", "key = \"/etc/understudy/node.key\"", "insecure = true",
       "b.toml:34: [security] insecure: expected either keys or insecure = true, found both"},
      {"insecure without a word", kSecurityTable, "[security]\ninsecure = false", "b.toml:33: [security] key: expected the file"},
      {"security misspelt", "peer_key", "peerkey", "b.toml:35: [security] peerkey: unknown key; expected one of: insecure, key, peer_key"},
      {"operators by number", "[timing]", "[control]\noperators = 1000\n[timing]",
       "b.toml:43: [control] operators: expected a list of 1 to 64 strings, found a whole number"},
      {"a group without a name", "[timing]", "[control]\nviewers = [\"@\"]\n[timing]",
       "b.toml:43: [control] viewers: expected users by name, and groups as \"@name\""},
      {"disk as table", "[[disk]]", "[disk]", "expected [[disk]] tables"},
      {"disk id with a slash", "id = \"root\"", "id = \"a/b\"", "[[disk]] id: expected 1 to 20 letters"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto config = parse_config(replaced(c.from, c.to), "b.toml");
    ASSERT_FALSE(config);
    EXPECT_THAT(config.error().text(), testing::HasSubstr(c.says));
    EXPECT_EQ(config.error().code(), ErrorCode::kInvalid);
    EXPECT_EQ(config.error().text().find('\n'), std::string::npos) << "one line";
  }
}

constexpr std::string_view kWitnessTable = "[witness]\nendpoint = \"tcp://10.77.2.3:7003\"";

TEST(Config, AnAckMayMeanStableStorage) {
  EXPECT_FALSE(parse_config(kWhole, "b.toml")->pair.ack_when_durable);
  const auto disk = parse_config(replaced("initial_role", "durability = \"disk\"\nfold_mib_per_s = 3\ninitial_role"), "b.toml");
  ASSERT_TRUE(disk) << disk.error().text();
  EXPECT_TRUE(disk->pair.ack_when_durable);
  EXPECT_EQ(disk->pair.fold_bytes_per_second, 3u << 20);
  const auto other = parse_config(replaced("initial_role", "durability = \"tape\"\ninitial_role"), "b.toml");
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().text(), HasSubstr("[pair] durability: expected \"memory\" or \"disk\", found \"tape\""));
}

TEST(Config, EtcdMayBeTheArbiter) {
  const auto plain =
      parse_config(replaced(kWitnessTable, "[etcd]\nendpoints = [\"http://10.77.2.3:2379\", \"http://[fd00::4]:2379\"]"), "b.toml");
  ASSERT_TRUE(plain) << plain.error().text();
  EXPECT_TRUE(plain->witness.empty());
  ASSERT_TRUE(plain->etcd);
  ASSERT_EQ(plain->etcd->endpoints.size(), 2u);
  EXPECT_EQ(plain->etcd->endpoints[1].text(), "http://[fd00::4]:2379");
  EXPECT_EQ(plain->etcd->prefix, "default");
  EXPECT_EQ(plain->etcd->timeout, std::chrono::milliseconds{500});
  EXPECT_FALSE(plain->etcd->tls);
  const auto secure = parse_config(replaced(kWitnessTable, R"([etcd]
endpoints = ["https://10.77.2.3:2379"]
prefix = "site-1"
ca = "/etc/understudy/ca.pem"
cert = "/etc/understudy/node.pem"
key = "/etc/understudy/node.key"
timeout_ms = 250)"),
                                   "b.toml");
  ASSERT_TRUE(secure) << secure.error().text();
  EXPECT_EQ(secure->etcd->prefix, "site-1");
  EXPECT_EQ(secure->etcd->timeout, std::chrono::milliseconds{250});
  EXPECT_EQ(secure->etcd->tls,
            (EtcdTls{.ca = "/etc/understudy/ca.pem", .cert = "/etc/understudy/node.pem", .key = "/etc/understudy/node.key"}));
}

TEST(Config, LinksAreInsecureOnlyWhenAskedTo) {
  const auto config = parse_config(replaced(kSecurityTable, "[security]\ninsecure = true"), "b.toml");
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_TRUE(config->security.insecure);
  EXPECT_FALSE(peer_keys(config->security) || witness_keys(config->security));
}

TEST(Config, AnEtcdPairPinsNoWitness) {
  std::string text{kWhole};
  text.replace(text.find("[witness]"), std::string_view{"[witness]\nendpoint = \"tcp://10.77.2.3:7003\""}.size(),
               "[etcd]\nendpoints = [\"http://10.77.2.3:2379\"]");
  const auto config = parse_config(text, "b.toml");
  ASSERT_FALSE(config);
  EXPECT_THAT(config.error().text(), testing::HasSubstr("b.toml:36: [security] witness_key: is for a [witness]"));
}

class KeyedConfigTest : public testing::Test {
 protected:
  KeyedConfigTest() {
    std::string path = (std::filesystem::temp_directory_path() / "understudy-config-XXXXXX").string();
    folder_ = ::mkdtemp(path.data());
    security_.key_file = folder_ / "node.key";
    security_.peer = CurveSecretKey::generate().public_key();
    security_.witness = CurveSecretKey::generate().public_key();
  }
  ~KeyedConfigTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
  SecurityConfig security_;
};

TEST_F(KeyedConfigTest, TheKeyFileIsReadWithTheConfiguration) {
  const auto missing = load_key(security_);
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().text(), testing::StartsWith("[security] key: the key file " + security_.key_file.string() + " is not there"));
  const auto own = CurveSecretKey::generate();
  ASSERT_TRUE(save_secret_key(security_.key_file, own));
  ASSERT_TRUE(load_key(security_));
  EXPECT_EQ(peer_keys(security_)->own.public_key(), own.public_key());
  EXPECT_EQ(peer_keys(security_)->peer, *security_.peer);
  EXPECT_EQ(witness_keys(security_)->peer, *security_.witness);
  security_.peer = own.public_key();
  const auto mirrored = load_key(security_);
  ASSERT_FALSE(mirrored);
  EXPECT_THAT(mirrored.error().text(), testing::HasSubstr("[security] peer_key is the public key of"));
}

TEST(Config, APairMayHaveNoThirdPlace) {
  const auto manual = parse_config(replaced(kWitnessTable, "[manual]"), "b.toml");
  ASSERT_TRUE(manual) << manual.error().text();
  EXPECT_TRUE(manual->manual);
  EXPECT_TRUE(manual->witness.empty());
  const auto both = parse_config(replaced(kWitnessTable, "[manual]\n" + std::string{kWitnessTable}), "b.toml");
  ASSERT_FALSE(both);
  EXPECT_THAT(both.error().text(), testing::HasSubstr("[manual] beside another arbiter: a pair has one arbiter"));
  EXPECT_FALSE(parse_config(replaced(kWitnessTable, "[manual]\nautomatic = true"), "b.toml"));
}

TEST(Config, FencingAndWatchdogAreReadWithCare) {
  const auto with = [](const std::string& tables) {
    return parse_config(replaced(kWitnessTable, std::string{kWitnessTable} + "\n" + tables), "b.toml");
  };
  const auto none = with("");
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->fencing.agent.empty());
  EXPECT_FALSE(none->watchdog);
  const auto all = with(R"([fencing]
agent = ["/usr/sbin/fence_ipmilan", "--verbose"]
options = ["ip=10.0.0.9", "username=admin"]
required = true
timeout_s = 30
self_fence_after_ms = 5000
[watchdog]
device = "/dev/watchdog"
timeout_s = 15)");
  ASSERT_TRUE(all) << all.error().text();
  EXPECT_EQ(all->fencing.agent, (std::vector<std::string>{"/usr/sbin/fence_ipmilan", "--verbose"}));
  EXPECT_EQ(all->fencing.options.size(), 2U);
  EXPECT_TRUE(all->fencing.required);
  EXPECT_EQ(all->fencing.timeout, std::chrono::seconds{30});
  EXPECT_EQ(all->fencing.self_fence_after, std::chrono::seconds{5});
  EXPECT_EQ(all->watchdog->timeout, std::chrono::seconds{15});
  const struct {
    const char* tables;
    const char* says;
  } wrong[] = {
      {"[fencing]\nrequired = true", "[fencing] required: expected a fence agent or a shared disk"},
      {"[fencing]\nagent = [\"fence_ipmilan\"]", "expected a program by its whole path"},
      {"[fencing]\nagent = [\"/a\"]\noptions = [\"ip\"]", "expected strings like"},
      {"[fencing]\nagent = [\"/a\"]\noptions = [\"action=on\"]", "without the action"},
      {"[fencing]\nself_fence_after_ms = 5", "a whole number from 100"},
      {"[watchdog]\ntimeout_s = 15", "[watchdog] device: expected a string"},
      {"[watchdog]\ndevice = \"/dev/watchdog\"\ntimeout_s = 1", "a whole number from 2"},
  };
  for (const auto& one : wrong) {
    const auto config = with(one.tables);
    ASSERT_FALSE(config) << one.tables;
    EXPECT_THAT(config.error().text(), testing::HasSubstr(one.says));
  }
}

TEST(Config, PacingIsReadWithCare) {
  const auto with = [](const std::string& table) { return parse_config(replaced("epoch_ms = 20", "epoch_ms = 20\n" + table), "b.toml"); };
  const auto all = with("[pacing]\nbudget_ms = 5\nbudget_first = true\nmax_loss_percent = 10\nmax_link_mib_per_s = 100");
  ASSERT_TRUE(all) << all.error().text();
  EXPECT_EQ(all->pacing.longest, Duration{std::chrono::milliseconds{20}});
  EXPECT_TRUE(all->pacing.budget == Duration{std::chrono::milliseconds{5}} && all->pacing.budget_first);
  EXPECT_TRUE(all->pacing.max_loss == 0.1 && all->pacing.max_link_bytes_per_second == std::uint64_t{100} << 20);
  for (const char* const wrong : {"max_loss_percent = 0", "max_loss_percent = 91", "budget_ms = 0", "budget_first = true", "pace = 1"})
    EXPECT_FALSE(with(std::string{"[pacing]\n"} + wrong)) << wrong;
}

TEST(Config, TheGuestMayHaveAHome) {
  EXPECT_FALSE(parse_config(kWhole, "b.toml")->pair.home);
  EXPECT_EQ(parse_config(replaced("node = \"b\"", "node = \"b\"\nhome = \"a\""), "b.toml")->pair.home, NodeId::kA);
  EXPECT_FALSE(parse_config(replaced("node = \"b\"", "node = \"b\"\nhome = \"host-a\""), "b.toml"));
}

TEST(Config, AnEtcdTableIsReadWithCare) {
  const std::string http = "endpoints = [\"http://10.77.2.3:2379\"]\n", https = "endpoints = [\"https://10.77.2.3:2379\"]\n";
  const struct {
    const char* name;
    std::string table, says;
  } cases[] = {
      {"no endpoints", "prefix = \"x\"", "b.toml:30: [etcd] endpoints: expected a list of 1 to 9 strings, found nothing"},
      {"none in the list", "endpoints = []", "b.toml:31: [etcd] endpoints: expected a list of 1 to 9 strings, found 0 of them"},
      {"no list", "endpoints = \"http://10.77.2.3:2379\"",
       "b.toml:31: [etcd] endpoints: expected a list of 1 to 9 strings, found a string"},
      {"not of strings", "endpoints = [2379]", "[etcd] endpoints: expected a list of 1 to 9 strings, found a whole number in it"},
      {"a name", "endpoints = [\"http://etcd-1:2379\"]",
       "[etcd] endpoints: expected addresses like \"http://10.0.0.3:2379\" (no host names), found \"http://etcd-1:2379\""},
      {"twice the same", "endpoints = [\"http://10.77.2.3:1\", \"http://10.77.2.3:1\"]", "\"http://10.77.2.3:1\" stands there twice"},
      {"half of it secure", "endpoints = [\"http://10.77.2.3:1\", \"https://10.77.2.4:1\"]", "expected either http or https for all"},
      {"a prefix with a slash", http + "prefix = \"a/b\"",
       "b.toml:32: [etcd] prefix: expected 1 to 64 letters, digits, - or _, found \"a/b\""},
      {"a CA without https", http + "ca = \"/ca.pem\"", "b.toml:32: [etcd] ca: is for https endpoints"},
      {"https without a CA", https, "[etcd] ca: https endpoints need the CA's certificate, found nothing"},
      {"a certificate without its key", https + "ca = \"/ca.pem\"\ncert = \"/n.pem\"", "[etcd] key: cert and key go together"},
      {"a key without its certificate", https + "ca = \"/ca.pem\"\nkey = \"/n.key\"", "[etcd] cert: cert and key go together"},
      {"no patience", http + "timeout_ms = 5", "b.toml:32: [etcd] timeout_ms: expected a whole number from 20 to 10000, found 5"},
      {"a strange key", http + "endpoint = 5", "b.toml:32: [etcd] endpoint: unknown key"},
      {"two arbiters", http + std::string{kWitnessTable},
       "b.toml:30: [etcd] beside [witness]: a pair has one arbiter: expected one of the two"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto config = parse_config(replaced(kWitnessTable, "[etcd]\n" + c.table), "b.toml");
    ASSERT_FALSE(config);
    EXPECT_THAT(config.error().text(), testing::HasSubstr(c.says));
    EXPECT_EQ(config.error().code(), ErrorCode::kInvalid);
  }
}

TEST(Config, SaysWhatBecomesOfAGuestThatEnds) {
  const auto usual = parse_config(kWhole, "b.toml");
  ASSERT_TRUE(usual);
  EXPECT_EQ(usual->vm.restart.on_reset, OnEnd::kReboot);
  EXPECT_EQ(usual->vm.restart.on_crash, OnEnd::kReboot);
  EXPECT_EQ(usual->vm.restart.on_panic, OnEnd::kReboot);
  const auto config = parse_config(replaced("vcpus = 2", R"(on_reset = "stop"
on_crash = "stop"
on_panic = "nothing"
max_crashes = 5
crash_window_s = 60)"),
                                   "b.toml");
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->vm.restart.on_reset, OnEnd::kStop);
  EXPECT_EQ(config->vm.restart.on_crash, OnEnd::kStop);
  EXPECT_EQ(config->vm.restart.on_panic, OnEnd::kNothing);
  EXPECT_EQ(config->vm.restart.max_crashes, 5u);
  EXPECT_EQ(config->vm.restart.crash_window, std::chrono::seconds{60});
}

TEST(Config, OptionalTablesMayBeAbsent) {
  const auto config = parse_config(replaced("[timing]\nepoch_ms = 20", ""), "b.toml");
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->timing.epoch, std::chrono::milliseconds{25});
}

TEST(Config, HowTheGuestIsStartedMayBeChosen) {
  const auto config = parse_config(replaced("vcpus = 2", "boot_protocol = \"pvh\"\nvirtio_on_cmdline = false"), "b.toml");
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->vm.boot_protocol, BootProtocol::kPvh);
  EXPECT_FALSE(config->vm.virtio_on_cmdline);
  EXPECT_EQ(parse_config(replaced("vcpus = 2", "boot_protocol = \"linux64\""), "b.toml")->vm.boot_protocol, BootProtocol::kLinux64);
  EXPECT_FALSE(parse_config(replaced("vcpus = 2", "boot_protocol = \"auto\""), "b.toml")->vm.boot_protocol.has_value());
}

TEST(Config, AGuestMayBeAskedToGiveBackMemory) {
  EXPECT_EQ(parse_config(kWhole, "b.toml")->vm.balloon_bytes, 0u);
  const auto config = parse_config(replaced("vcpus = 2", "balloon_mib = 32"), "b.toml");
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->vm.balloon_bytes, std::uint64_t{32} << 20);
}

TEST(Config, ProbesHaveDefaultsAndMayBeSaid) {
  const auto usual = parse_config(kWhole, "b.toml");
  ASSERT_TRUE(usual) << usual.error().text();
  EXPECT_EQ(usual->probes.kernel_log, "/dev/kmsg");
  EXPECT_TRUE(usual->probes.watch_kernel_log);
  EXPECT_TRUE(usual->probes.echo_targets.empty());
  EXPECT_EQ(usual->timing.hold_down, std::chrono::seconds{10});
  const auto config = parse_config(std::string{kWhole} + R"(hold_down_ms = 0
[probes]
echo_target = "10.77.0.1"
echo_lost_ms = 1500
replication_nic = "rep0"
kernel_log = "off"
memory_pressure = "/tmp/pressure"
memory_pressure_percent = 50
[[probes.command]]
name = "gateway"
command = "ping -c 1 -W 1 10.77.0.1"
path = "service NIC"
period_ms = 2000
deadline_ms = 1500
failures = 2
successes = 5
[[probes.command]]
name = "plain"
command = "true"
)",
                                   "b.toml");
  ASSERT_TRUE(config) << config.error().text();
  const ProbesConfig& probes = config->probes;
  EXPECT_EQ(config->timing.hold_down, Duration{});
  ASSERT_EQ(probes.echo_targets.size(), 1U);
  EXPECT_EQ(probes.echo_targets[0].text(), "10.77.0.1");
  EXPECT_EQ(probes.echo_lost, std::chrono::milliseconds{1500});
  EXPECT_EQ(probes.replication_nic, "rep0");
  EXPECT_FALSE(probes.watch_kernel_log);
  EXPECT_EQ(probes.memory_pressure, "/tmp/pressure");
  EXPECT_EQ(probes.memory_pressure_percent, 50);
  ASSERT_EQ(probes.commands.size(), 2U);
  EXPECT_EQ(probes.commands[0].path, ProbePath::kServiceNic);
  EXPECT_EQ(probes.commands[0].period, std::chrono::seconds{2});
  EXPECT_EQ(probes.commands[0].deadline, std::chrono::milliseconds{1500});
  EXPECT_EQ(probes.commands[0].hysteresis.failures, 2U);
  EXPECT_EQ(probes.commands[0].hysteresis.successes, 5U);
  EXPECT_EQ(probes.commands[1].path, ProbePath::kUser);
  EXPECT_EQ(probes.commands[1].hysteresis.failures, 3U);
}

TEST(Config, WhatProbesCannotBeIsRefused) {
  const struct {
    const char* table;
    const char* says;
  } cases[] = {
      {"echo_target = \"gateway\"", "b.toml:45: [probes] echo_target: expected IPv4 addresses like \"10.0.0.1\", found \"gateway\""},
      {"echo_target = []", "[probes] echo_target: expected a list of 1 to 4 strings, found 0 of them"},
      {"echo = \"10.0.0.1\"", "[probes] echo: unknown key"},
      {"memory_pressure_percent = 0", "expected a whole number from 1 to 100, found 0"},
      {"kernel_log_rules = \"/no/such/rules\"", "read the kernel log rules /no/such/rules: No such file"},
      {"command = 5", "[probes] command: expected [[...]] tables"},
      {"[[probes.command]]\nname = \"a\"", "b.toml:45: [[probes.command]] command: expected a string, found nothing"},
      {"[[probes.command]]\nname = \"a b\"", "[[probes.command]] name: expected 1 to 32 letters, digits, - or _, found \"a b\""},
      {"[[probes.command]]\nname = \"a\"\ncommand = \"x\"\npath = \"nic\"", "path: expected one of \"service NIC\", \"storage\""},
      {"[[probes.command]]\nname = \"a\"\ncommand = \"x\"\npath = \"KVM\"", "found \"KVM\""},
      {"[[probes.command]]\nname = \"a\"\ncommand = \"x\"\n[[probes.command]]\nname = \"a\"", "\"a\" names a probe above already"},
  };
  for (const auto& one : cases) {
    const auto config = parse_config(std::string{kWhole} + "[probes]\n" + one.table + "\n", "b.toml");
    ASSERT_FALSE(config) << one.table;
    EXPECT_THAT(config.error().text(), testing::HasSubstr(one.says));
  }
}

TEST(Config, AnAbsentFileIsNamed) {
  const auto config = load_config("/nonexistent/pair.toml");
  ASSERT_FALSE(config);
  EXPECT_THAT(config.error().text(), testing::HasSubstr("read configuration /nonexistent/pair.toml: No such file"));
}

}  // namespace
}  // namespace understudy
