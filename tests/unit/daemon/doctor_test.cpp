// The doctor on hosts of its own making: what it finds, how it grades it, and which mend it names.
#include "failover/daemon/doctor.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "net/base/unique_fd.h"

namespace understudy {
namespace {

using testing::Contains;
using testing::Field;
using testing::HasSubstr;

// A port of the loopback interface on which somebody accepts.
class Listener {
 public:
  Listener() : socket_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(socket_.get(), 4), 0);
    EXPECT_EQ(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  std::string endpoint() const { return "tcp://127.0.0.1:" + std::to_string(port_); }
  void close() { socket_ = UniqueFd{}; }

 private:
  UniqueFd socket_;
  unsigned port_ = 0;
};

class DoctorTest : public testing::Test {
 protected:
  DoctorTest() {
    std::string path = std::filesystem::temp_directory_path() / "understudy-doctor-XXXXXX";
    folder_ = ::mkdtemp(path.data());
    paths_.kvm = folder_ / "no-kvm";
    paths_.proc = folder_ / "proc";
    paths_.sys = folder_ / "sys";
    write("proc/meminfo", "MemTotal:       16000000 kB\nMemFree: 100 kB\nMemAvailable:    8000000 kB\nBuffers: 1 kB\n");
    write("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
    config_.vm.kernel = folder_ / "vmlinux";
    config_.vm.memory_bytes = std::uint64_t{256} << 20;
    config_.net.tap = "no-such-tap";
    config_.net.service_nic = "no-such-nic";
    config_.disks = {{.id = "root", .image = folder_ / "root.img"}};
    config_.state_dir = folder_ / "state";
    config_.replication = {.bind = "tcp://127.0.0.1:7001", .peer = peer_.endpoint()};
    config_.heartbeat = {.bind = "tcp://127.0.0.1:7002", .peer = peer_.endpoint()};
    config_.witness = witness_.endpoint();
    config_.security.own = CurveSecretKey::generate();
  }
  ~DoctorTest() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream{folder_ / name} << content;
  }
  // All that is found of a part, worst first.
  std::vector<Finding> find(const std::string& part) const {
    std::vector<Finding> found;
    examine_host(config_, paths_, [&](const Finding& finding) {
      if (finding.part == part) found.push_back(finding);
    });
    std::ranges::stable_sort(found, std::greater{}, &Finding::grade);
    EXPECT_FALSE(found.empty()) << part;
    if (found.empty()) found.emplace_back();
    return found;
  }

  std::filesystem::path folder_;
  HostPaths paths_;
  DaemonConfig config_;
  Listener peer_;
  Listener witness_;
};

TEST_F(DoctorTest, NamesWhatIsMissingWithItsMend) {
  struct Case {
    const char* part;
    const char* found;
    const char* mend;
  };
  for (const Case& c :
       {Case{"KVM", "no-kvm: No such file or directory", "modprobe kvm_intel"}, Case{"guest", "vmlinux: open: No such file", "[vm] kernel"},
        Case{"tap", "no such interface", "ip tuntap add no-such-tap mode tap"},
        Case{"service NIC", "no-such-nic", "ip link set no-such-nic up"},
        Case{"disk root", "root.img: No such file", "truncate -s SIZE"}}) {
    SCOPED_TRACE(c.part);
    const Finding worst = find(c.part)[0];
    EXPECT_EQ(worst.grade, Grade::kBad);
    EXPECT_THAT(worst.found, HasSubstr(c.found));
    EXPECT_THAT(worst.mend, HasSubstr(c.mend));
  }
}

TEST_F(DoctorTest, LooksAtTheMemoryThatIsAvailable) {
  EXPECT_EQ(find("memory")[0].grade, Grade::kGood);
  EXPECT_THAT(find("memory")[0].found, HasSubstr("7812 MiB available, 448 MiB wanted"));
  write("proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 300000 kB\n");
  EXPECT_EQ(find("memory")[0].grade, Grade::kBad);
  write("proc/meminfo", "nonsense");
  EXPECT_EQ(find("memory")[0].grade, Grade::kBad) << "what can't be read is not there";
}

TEST_F(DoctorTest, LooksAtTheClockSource) {
  EXPECT_EQ(find("clock")[0].grade, Grade::kGood);
  write("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
  EXPECT_EQ(find("clock")[0].grade, Grade::kWarning);
  EXPECT_THAT(find("clock")[0].found, HasSubstr("hpet"));
}

TEST_F(DoctorTest, ATapWithoutABridgeIsNoNetwork) {
  std::filesystem::create_directories(folder_ / "sys/class/net/no-such-tap");
  EXPECT_THAT(find("bridge")[0].found, HasSubstr("is on no bridge"));
  EXPECT_THAT(find("bridge")[0].mend, HasSubstr("ip link set no-such-tap master"));
}

TEST_F(DoctorTest, ADiskIsWholeSectors) {
  write("root.img", "short");
  EXPECT_THAT(find("disk root")[0].found, HasSubstr("has 5 bytes: not a number of sectors"));
  std::filesystem::resize_file(folder_ / "root.img", 1 << 20);
  EXPECT_NE(find("disk root")[0].grade, Grade::kBad);
  // Larger than what is left, and sparse.
  std::error_code refused;
  std::filesystem::resize_file(folder_ / "root.img", std::uintmax_t{8} << 40, refused);
  if (refused) return;  // a file system that knows no such sizes
  EXPECT_THAT(find("disk root"), Contains(Field(&Finding::mend, HasSubstr("make room"))));
}

TEST_F(DoctorTest, ExercisesTheStorageOfAStateThatIsThere) {
  EXPECT_THAT(find("state"), Contains(Field(&Finding::found, HasSubstr("will be made"))));
  EXPECT_FALSE(std::filesystem::exists(config_.state_dir)) << "it only looks";
  std::filesystem::create_directories(config_.state_dir);
  std::filesystem::remove(folder_ / "root.img");
  EXPECT_EQ(find("storage")[0].grade, Grade::kBad) << "a disk that is not there can't be read";
}

TEST_F(DoctorTest, TellsWhoAnswers) {
  EXPECT_EQ(find("replication")[0].grade, Grade::kGood);
  EXPECT_EQ(find("heartbeat")[0].grade, Grade::kGood);
  EXPECT_EQ(find("witness")[0].grade, Grade::kGood);
  peer_.close();
  witness_.close();
  EXPECT_EQ(find("replication")[0].grade, Grade::kWarning) << "a node runs without its peer";
  EXPECT_THAT(find("replication")[0].found, HasSubstr("the peer does not answer at tcp://127.0.0.1:"));
  EXPECT_EQ(find("witness")[0].grade, Grade::kBad);
  config_.heartbeat.bind = "tcp://192.0.2.1:7002";
  EXPECT_THAT(find("heartbeat")[0].found, HasSubstr("is no address of this host"));
  config_.witness = "tcp://127.0.0.1:not-a-port";
  EXPECT_EQ(find("witness")[0].grade, Grade::kBad);
}

TEST_F(DoctorTest, AnEtcdNeedsOneMemberThatAnswers) {
  config_.witness.clear();
  const auto living = EtcdEndpoint::parse("http" + witness_.endpoint().substr(3));
  ASSERT_TRUE(living);
  config_.etcd.emplace();
  config_.etcd->endpoints = {{.host = "127.0.0.1", .port = 1}, *living};
  EXPECT_EQ(find("etcd")[0].grade, Grade::kWarning) << "one of two";
  witness_.close();
  EXPECT_EQ(find("etcd")[0].grade, Grade::kBad);
  EXPECT_EQ(find("etcd")[0].found, "no member answers");
}

TEST(Doctor, WritesOneFindingALine) {
  EXPECT_EQ(finding_as_text({Grade::kGood, "clock", "tsc", ""}), "good     clock          tsc\n");
  EXPECT_EQ(finding_as_text({Grade::kBad, "tap", "none", "make one"}),
            "bad      tap            none\n                        mend: make one\n");
  EXPECT_THAT(findings_as_json({{Grade::kWarning, "state", "in memory", "move it"}}),
              HasSubstr(R"("grade": "warning", "part": "state", "found": "in memory", "mend": "move it")"));
}

}  // namespace
}  // namespace understudy
