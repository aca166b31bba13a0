// The kernel's log: what its lines say of which path, for how long, and how they are read.
#include "failover/kernel_log.h"

#include <fcntl.h>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace understudy {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr Instant kLogStart{seconds{1000}};

KernelLogWatch default_watch() {
  const auto rules = default_kernel_log_rules();
  auto watch = KernelLogWatch::create(rules, "svc0.1", "rep0");
  EXPECT_TRUE(watch) << watch.error().text();
  return std::move(*watch);
}

TEST(KernelLog, DefaultRules) {
  const struct {
    const char* line;
    ProbePath path;
    const char* severity;  // failed, degraded, nothing
  } cases[] = {
      {"Oops: 0002 [#1] SMP NOPTI", ProbePath::kKernel, "failed"},
      {"Internal error: Oops: 96000004 [#1] SMP", ProbePath::kKernel, "failed"},
      {"BUG: unable to handle page fault for address: ffffffffc0a0", ProbePath::kKernel, "failed"},
      {"BUG: kernel NULL pointer dereference, address: 0000000000000008", ProbePath::kKernel, "failed"},
      {"kernel BUG at mm/slub.c:305!", ProbePath::kKernel, "failed"},
      {"BUG: Bad page state in process kworker/3:1  pfn:1a2b3", ProbePath::kKernel, "failed"},
      {"general protection fault, probably for non-canonical address 0xdead: 0000 [#1] PREEMPT SMP", ProbePath::kKernel, "failed"},
      {"NMI watchdog: Watchdog detected hard LOCKUP on cpu 3", ProbePath::kKernel, "failed"},
      {"mce: [Hardware Error]: CPU 2: Machine Check: 0 Bank 5: PROCESSOR CONTEXT CORRUPT", ProbePath::kKernel, "failed"},
      {"Memory failure: 0x12345: recovery action for dirty LRU page: Failed", ProbePath::kMemory, "failed"},
      {"mce: [Hardware Error]: Machine check events logged", ProbePath::kKernel, "degraded"},
      {"watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [kworker/1:2:123]", ProbePath::kKernel, "degraded"},
      {"INFO: task jbd2/sda1-8:312 blocked for more than 120 seconds.", ProbePath::kKernel, "degraded"},
      {"rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", ProbePath::kKernel, "degraded"},
      {"Out of memory: Killed process 812 (understudyd) total-vm:1kB", ProbePath::kMemory, "failed"},
      {"Memory cgroup out of memory: Killed process 812 (vcpu0) total-vm:1kB", ProbePath::kMemory, "failed"},
      {"Out of memory: Killed process 812 (firefox) total-vm:1kB", ProbePath::kMemory, "degraded"},
      {"I/O error, dev sda, sector 2048 op 0x1:(WRITE) flags 0x800", ProbePath::kStorage, "degraded"},
      {"blk_update_request: critical medium error, dev sdb, sector 99", ProbePath::kStorage, "degraded"},
      {"Buffer I/O error on dev dm-0, logical block 3, lost async page write", ProbePath::kStorage, "degraded"},
      {"EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: comm ls: reading directory lblock 0", ProbePath::kStorage, "degraded"},
      {"EXT4-fs (sda1): Remounting filesystem read-only", ProbePath::kStorage, "degraded"},
      {"XFS (sdb1): Corruption of in-memory data detected.  Shutting down filesystem", ProbePath::kStorage, "degraded"},
      {"nvme nvme0: I/O 12 QID 3 timeout, aborting", ProbePath::kStorage, "degraded"},
      {"NETDEV WATCHDOG: svc0.1 (e1000e): transmit queue 0 timed out", ProbePath::kServiceNic, "degraded"},
      {"e1000e 0000:00:19.0 svc0.1: Detected Hardware Unit Hang:", ProbePath::kServiceNic, "degraded"},
      {"NETDEV WATCHDOG: rep0 (ixgbe): transmit queue 3 timed out", ProbePath::kReplicationNic, "degraded"},
      {"NETDEV WATCHDOG: svc0x1 (e1000e): transmit queue 0 timed out", ProbePath::kKernel, "degraded"},
      {"NETDEV WATCHDOG: eth7 (tg3): transmit queue 0 timed out", ProbePath::kKernel, "degraded"},
      {"EXT4-fs (sda1): mounted filesystem with ordered data mode. Quota mode: none.", ProbePath::kStorage, "nothing"},
      {"svc0.1: renamed from eth0", ProbePath::kServiceNic, "nothing"},
      {"debugfs: a module called oops registered", ProbePath::kKernel, "nothing"},
      {"e1000e 0000:00:19.0 svc0.1: NIC Link is Up 1000 Mbps Full Duplex", ProbePath::kServiceNic, "nothing"},
      {"kvm: vcpu0 disabled perfctr wrmsr: 0xc1 data 0xffff", ProbePath::kKernel, "nothing"},
  };
  for (const auto& one : cases) {
    KernelLogWatch watch = default_watch();
    watch.line(kLogStart, one.line);
    const auto reports = watch.reports(kLogStart);
    std::string found = "nothing";
    for (const ProbeReport& report : reports) {
      if (report.health == Health::kHealthy) continue;
      found = report.suspected ? "failed" : "degraded";
      EXPECT_EQ(report.path, one.path) << one.line;
      EXPECT_THAT(report.text, HasSubstr("the kernel says: ")) << one.line;
    }
    EXPECT_EQ(found, one.severity) << one.line;
  }
}

TEST(KernelLog, AnOopsCountsForGoodAndADevicesErrorsAgeOut) {
  KernelLogWatch watch = default_watch();
  watch.line(kLogStart, "Oops: 0002 [#1] SMP NOPTI");
  watch.line(kLogStart, "Oops: 0003 [#2] SMP NOPTI");
  watch.line(kLogStart, "I/O error, dev sda, sector 1");
  auto reports = watch.reports(kLogStart + seconds{59});
  ASSERT_EQ(reports.size(), 2U);
  EXPECT_EQ(reports[0].text, "the kernel says: Oops: 0002 [#1] SMP NOPTI (and 1 more)") << "the first is the cause";
  EXPECT_EQ(reports[1].health, Health::kDegraded);
  reports = watch.reports(kLogStart + seconds{61});
  EXPECT_EQ(reports[1].path, ProbePath::kStorage);
  EXPECT_EQ(reports[1].health, Health::kHealthy) << "said, so that the board knows";
  EXPECT_TRUE(watch.reports(kLogStart + std::chrono::hours{1000})[0].suspected);
}

TEST(KernelLog, TheWorseOfTwoIsTold) {
  KernelLogWatch watch = default_watch();
  watch.line(kLogStart, "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:");
  EXPECT_FALSE(watch.reports(kLogStart)[0].suspected);
  watch.line(kLogStart, "kernel BUG at mm/slub.c:305!");
  EXPECT_TRUE(watch.reports(kLogStart)[0].suspected);
  EXPECT_THAT(watch.reports(kLogStart)[0].text, HasSubstr("slub"));
}

TEST(KernelLog, APatternThatIsNoneIsNamed) {
  const KernelLogRule rule{.pattern = "a(b"};
  const auto watch = KernelLogWatch::create({&rule, 1}, "a", "b");
  ASSERT_FALSE(watch);
  EXPECT_THAT(watch.error().text(), HasSubstr("\"a(b\" is no extended regular expression"));
}

TEST(KernelLog, HostileLinesDoNoHarm) {
  KernelLogWatch watch = default_watch();
  watch.line(kLogStart, std::string(1 << 20, 'a'));
  watch.line(kLogStart, std::string_view{"\0\0\xff\xfe", 4});
  watch.line(kLogStart, "Oops: \x1b[31m\x07 red");
  EXPECT_EQ(watch.reports(kLogStart)[0].text, "the kernel says: Oops:  [31m  red");
}

TEST(KernelLog, RecordsOfTheKernelAlone) {
  EXPECT_EQ(kernel_message("3,1234,5678,-;Oops: 1\n SUBSYSTEM=pci"), "Oops: 1");
  EXPECT_EQ(kernel_message("4,99,12345,-,caller=T1;with ; in it"), "with ; in it");
  EXPECT_EQ(kernel_message("11,1234,5678,-;Oops: a process wrote this"), std::nullopt) << "facility 1";
  EXPECT_EQ(kernel_message("Oops: a plain line"), "Oops: a plain line");
  EXPECT_EQ(kernel_message("1;no record"), "1;no record");
  EXPECT_EQ(kernel_message(""), "");
}

class KernelLogSourceTest : public testing::Test {
 protected:
  KernelLogSourceTest() : path{std::filesystem::temp_directory_path() / ("understudy-kmsg-test-" + std::to_string(::getpid()))} {}
  ~KernelLogSourceTest() override { std::filesystem::remove(path); }
  void write(const std::string& text) const { std::ofstream{path, std::ios::app} << text; }
  const std::filesystem::path path;
};

TEST_F(KernelLogSourceTest, AFileIsReadFromItsEndOnAndInWholeLines) {
  write("from before\n");
  auto source = KernelLogSource::open(path);
  ASSERT_TRUE(source) << source.error().text();
  EXPECT_TRUE(source->read().empty());
  write("one\ntwo\nthr");
  EXPECT_THAT(source->read(), ElementsAre("one", "two"));
  write("ee\n");
  EXPECT_THAT(source->read(), ElementsAre("three"));
}

TEST_F(KernelLogSourceTest, AFifoOutlivesItsWriters) {
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  auto source = KernelLogSource::open(path);
  ASSERT_TRUE(source) << source.error().text();
  EXPECT_TRUE(source->read().empty());
  write("one\n");
  write("two\n");
  EXPECT_THAT(source->read(), ElementsAre("one", "two"));
}

TEST_F(KernelLogSourceTest, WhatIsNotThereIsNamed) {
  const auto source = KernelLogSource::open(path);
  ASSERT_FALSE(source);
  EXPECT_THAT(source.error().text(), HasSubstr(path.string()));
}

}  // namespace
}  // namespace understudy
