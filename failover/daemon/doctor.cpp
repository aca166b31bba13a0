#include "failover/daemon/doctor.h"

#include <charconv>
#include <fcntl.h>
#include <fstream>
#include <poll.h>
#include <string_view>
#include <unistd.h>

#include <fmt/format.h>
#include <netdb.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <sys/vfs.h>

#include "failover/daemon/bootable.h"
#include "failover/daemon/json.h"
#include "failover/daemon/operator.capnp.h"
#include "failover/daemon/tcp_address.h"
#include "failover/probe_nic.h"
#include "failover/probe_storage.h"
#include "net/base/unique_fd.h"
#include "net/tap.h"
#include "vmm/cpu_model.h"
#include "vmm/kvm.h"

namespace understudy {

namespace {

constexpr int kConnectDeadlineMs = 1000;
constexpr std::uint64_t kStoreBytes = std::uint64_t{512} << 20;    // the stores' bound, with room for their compaction
constexpr std::uint64_t kProcessBytes = std::uint64_t{192} << 20;  // staging, links and the process itself
constexpr long kTmpfsMagic = 0x01021994;                           // linux/magic.h
constexpr std::uint64_t kMib = std::uint64_t{1} << 20;

std::string first_line(const std::filesystem::path& path) {
  std::ifstream file{path};
  std::string line;
  std::getline(file, line);
  return line;
}

// Of /proc/meminfo, in bytes; 0 when it is not there.
std::uint64_t memory_available(const std::filesystem::path& proc) {
  std::ifstream file{proc / "meminfo"};
  std::string key;
  std::uint64_t kib = 0;
  std::string unit;
  while (file >> key >> kib) {
    if (key == "MemAvailable:") return kib << 10;
    std::getline(file, unit);
  }
  return 0;
}

// Opens a socket for the address; nullopt with the reason.
struct Resolved {
  UniqueFd socket;
  sockaddr_storage address{};
  socklen_t length = 0;
  std::string error;
};

Resolved resolve(const TcpAddress& address) {
  Resolved out;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int code = ::getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found); code != 0) {
    out.error = ::gai_strerror(code);
    return out;
  }
  std::copy_n(reinterpret_cast<const std::byte*>(found->ai_addr), found->ai_addrlen, reinterpret_cast<std::byte*>(&out.address));
  out.length = found->ai_addrlen;
  out.socket = UniqueFd{::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  ::freeaddrinfo(found);
  if (!out.socket) out.error = Error::from_errno("socket").text();
  return out;
}

// Empty when somebody accepts; else why not.
std::string connects(const TcpAddress& address) {
  Resolved to = resolve(address);
  if (!to.error.empty()) return to.error;
  if (::connect(to.socket.get(), reinterpret_cast<const sockaddr*>(&to.address), to.length) == 0) return {};
  if (errno != EINPROGRESS) return Error::from_errno("connect").text();
  pollfd ready{.fd = to.socket.get(), .events = POLLOUT, .revents = 0};
  if (::poll(&ready, 1, kConnectDeadlineMs) <= 0) return fmt::format("no answer within {} ms", kConnectDeadlineMs);
  int code = 0;
  socklen_t size = sizeof code;
  ::getsockopt(to.socket.get(), SOL_SOCKET, SO_ERROR, &code, &size);
  return code == 0 ? std::string{} : Error::from_errno("connect", code).text();
}

// Whether the address is one of this host's: any of its ports can be taken. Empty, or why not.
std::string is_ours(TcpAddress address) {
  if (address.host == "*") return {};
  address.port = "0";
  Resolved at = resolve(address);
  if (!at.error.empty()) return at.error;
  if (::bind(at.socket.get(), reinterpret_cast<const sockaddr*>(&at.address), at.length) == 0) return {};
  return Error::from_errno("bind").text();
}

class Examination {
 public:
  Examination(const DaemonConfig& config, const HostPaths& paths, const std::function<void(const Finding&)>& told)
      : config_{config}, paths_{paths}, told_{told} {}

  void all() {
    kvm();
    clock();
    memory();
    guest();
    network();
    disks();
    state();
    security();
    links();
    arbiter();
  }

 private:
  void good(std::string part, std::string found) { told_({Grade::kGood, std::move(part), std::move(found), {}}); }
  void warn(std::string part, std::string found, std::string mend) {
    told_({Grade::kWarning, std::move(part), std::move(found), std::move(mend)});
  }
  void bad(std::string part, std::string found, std::string mend) {
    told_({Grade::kBad, std::move(part), std::move(found), std::move(mend)});
  }

  void kvm() {
    const auto device = Kvm::open(paths_.kvm.c_str());
    if (!device)
      return bad("KVM", device.error().text(),
                 "`modprobe kvm_intel` or `kvm_amd`, after its switch in the firmware; run as a user who may open it");
    good("KVM", paths_.kvm.string() + " has what a machine needs");
    auto supported = device->supported_cpuid();
    if (!supported) return bad("CPU model", supported.error().text(), "");
    CpuidTable table = guest_cpuid(std::move(*supported), 0, config_.vm.vcpus, true);
    if (const auto fits = apply_cpu_model(config_.vm.cpu_model, table); !fits)
      return bad("CPU model", fits.error().text(), "choose a [vm] cpu_model that both hosts have");
    if (config_.vm.cpu_model == kHostCpuModel)
      return good("CPU model", "host: the other host must have all of this one's features; `x86-64-v2` and above demand less");
    good("CPU model", config_.vm.cpu_model + ": this host has all of it");
  }

  void clock() {
    const std::string source = first_line(paths_.sys / "devices/system/clocksource/clocksource0/current_clocksource");
    if (source == "tsc" || source == "kvm-clock")
      good("clock", "the kernel's clock source is " + source);
    else
      warn("clock", "the kernel's clock source is " + (source.empty() ? std::string{"not known"} : source),
           "guests read their clock fastest over a kernel that trusts its TSC: see `dmesg | grep -i tsc`");
    timex state{};
    if (::adjtimex(&state) == TIME_ERROR || (state.status & STA_UNSYNC) != 0)
      warn("time of day", "it is not synchronized",
           "run an NTP client on both hosts, or their logs can't be read side by side (nothing is decided by it)");
    else
      good("time of day", "synchronized");
  }

  void memory() {
    const std::uint64_t wanted = config_.vm.memory_bytes + kProcessBytes;
    const std::uint64_t available = memory_available(paths_.proc);
    const std::string found = fmt::format("{} MiB available, {} MiB wanted by the guest and the daemon", available / kMib, wanted / kMib);
    if (available >= wanted)
      good("memory", found);
    else
      bad("memory", found,
          "free memory, or give the guest less ([vm] memory_mib on both nodes); while the daemon runs, it has its part already");
    rlimit limit{};
    ::getrlimit(RLIMIT_MEMLOCK, &limit);
    if (::geteuid() == 0 || limit.rlim_cur >= wanted)
      good("locked memory", "the daemon may keep itself in memory");
    else
      warn("locked memory", fmt::format("at most {} MiB may be locked", limit.rlim_cur / kMib),
           "LimitMEMLOCK=infinity in the unit, or a verdict may wait for the disk that failed");
  }

  void guest() {
    if (const auto loaded = check_bootable(config_.vm); !loaded)
      bad("guest", loaded.error().text(), "look at [vm] kernel, initrd, cmdline and memory_mib");
    else
      good("guest", config_.vm.kernel.string() + " can be booted");
  }

  void network() {
    const auto interface = paths_.sys / "class/net" / config_.net.tap;
    std::error_code ignored;
    if (const auto tap = Tap::open(config_.net.tap); tap)
      good("tap", config_.net.tap + " is there");
    else if (tap.error().text().find("EBUSY") != std::string::npos)
      good("tap", config_.net.tap + " is there, and in use: by the daemon, if it runs");
    else
      bad("tap", tap.error().text(), fmt::format("ip tuntap add {0} mode tap && ip link set {0} up master BRIDGE", config_.net.tap));
    if (std::filesystem::exists(interface, ignored) && !std::filesystem::exists(interface / "brport", ignored))
      bad("bridge", config_.net.tap + " is on no bridge: the guest would be without network",
          fmt::format("ip link set {} master BRIDGE, which {} is on, too", config_.net.tap, config_.net.service_nic));
    const ProbeReport nic = NicProbe{config_.net.service_nic}.exercise();
    if (nic.health == Health::kHealthy)
      good("service NIC", nic.text.empty() ? config_.net.service_nic + " transmits" : nic.text);
    else if (nic.health == Health::kDegraded)
      warn("service NIC", nic.text, "look at cable, switch and driver");
    else
      bad("service NIC", nic.text, fmt::format("ip link set {} up; look at cable, switch and driver", config_.net.service_nic));
  }

  void disks() {
    for (const DiskConfig& disk : config_.disks) disk_image(disk);
  }

  void disk_image(const DiskConfig& disk) {
    const std::string part = "disk " + disk.id;
    const UniqueFd file{::open(disk.image.c_str(), (disk.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC)};
    if (!file)
      return bad(part, Error::from_errno("open " + disk.image.string()).text(),
                 "make it as large as the one on the other host: truncate -s SIZE FILE");
    struct stat about {};
    if (::fstat(file.get(), &about) != 0) return bad(part, Error::from_errno("stat " + disk.image.string()).text(), "");
    const auto bytes = static_cast<std::uint64_t>(S_ISREG(about.st_mode) ? about.st_size : ::lseek(file.get(), 0, SEEK_END));
    if (bytes == 0 || bytes % 512 != 0)
      return bad(part, fmt::format("{} has {} bytes: not a number of sectors", disk.image.string(), bytes),
                 "truncate it to a multiple of 512 bytes");
    if (const UniqueFd direct{::open(disk.image.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC)}; !direct)
      warn(part, disk.image.string() + ": its file system has no O_DIRECT",
           "a file system that has it (ext4, XFS) or a block device is faster, and keeps the page cache out of it");
    else
      good(part, fmt::format("{}, {} MiB", disk.image.string(), bytes / kMib));
    if (!S_ISREG(about.st_mode)) return;
    const auto held = static_cast<std::uint64_t>(about.st_blocks) * 512;
    struct statvfs space {};
    if (::fstatvfs(file.get(), &space) != 0 || held >= bytes) return;
    const std::uint64_t free = space.f_bavail * space.f_frsize;
    if (free < bytes - held)
      warn(part, fmt::format("the image may grow by {} MiB, and its file system has {} MiB left", (bytes - held) / kMib, free / kMib),
           "make room: a disk that is full is a failed disk");
  }

  void state() {
    const std::string part = "state";
    std::error_code error;
    std::filesystem::path at = config_.state_dir;
    while (!std::filesystem::exists(at, error) && at.has_parent_path() && at != at.parent_path()) at = at.parent_path();
    if (::access(at.c_str(), W_OK) != 0)
      return bad(part, Error::from_errno("write into " + at.string()).text(), "run as a user who may, or name another [state] dir");
    struct statfs kind {};
    struct statvfs space {};
    if (::statfs(at.c_str(), &kind) != 0 || ::statvfs(at.c_str(), &space) != 0)
      return bad(part, Error::from_errno("look at the file system of " + at.string()).text(), "");
    if (kind.f_type == kTmpfsMagic)
      warn(part,
           config_.state_dir.string() +
               " is in memory: a host that restarts forgets its terms, and is of no use to its peer until the arbiter tells it",
           "put [state] dir on a disk");
    const std::uint64_t free = space.f_bavail * space.f_frsize;
    if (free < kStoreBytes)
      return bad(part, fmt::format("{} MiB free at {}, {} MiB wanted", free / kMib, at.string(), kStoreBytes / kMib),
                 "make room, or name another [state] dir");
    if (at != config_.state_dir) return good(part, config_.state_dir.string() + " will be made, with room for it");
    std::vector<std::filesystem::path> images;
    for (const DiskConfig& disk : config_.disks) images.push_back(disk.image);
    const ProbeReport storage = StorageProbe{config_.state_dir / "canary", std::move(images)}.exercise();
    if (storage.health == Health::kHealthy)
      good("storage", "a block was written past the page cache and read back, and each disk was read");
    else
      bad("storage", storage.text, "look at the kernel's log and the disk");
  }

  void security() {
    if (config_.security.insecure)
      warn("security", "[security] insecure: anybody on the links' network may pose as the peer or the witness",
           "`understudy keygen` and `understudy pair` on both hosts, and a witness with --key and --allow");
    else
      good("security", "links prove themselves; this node's public key is " + config_.security.own->public_key().text());
  }

  void links() {
    for (const auto& [name, link] : {std::pair{"replication", &config_.replication}, std::pair{"heartbeat", &config_.heartbeat}}) {
      if (const auto own = tcp_address(link->bind)) {
        if (const std::string why = is_ours(*own); !why.empty())
          bad(name, fmt::format("{} is no address of this host: {}", link->bind, why),
              fmt::format("[{}] bind is where this node listens", name));
        else
          good(name, link->bind + " is this host's");
      }
      if (const auto peer = tcp_address(link->peer)) {
        if (const std::string why = connects(*peer); !why.empty())
          warn(name, fmt::format("the peer does not answer at {}: {}", link->peer, why),
               "start its understudyd; then look at routes and firewalls between the hosts");
        else
          good(name, "the peer answers at " + link->peer);
      }
    }
  }

  void arbiter() {
    if (config_.manual)
      return warn("arbiter", "none: after a failure the guest waits for an operator's `understudy grant`", "a [witness] in a third place");
    if (config_.etcd) return etcd(*config_.etcd);
    const auto address = tcp_address(config_.witness);
    if (!address) return;
    if (const std::string why = connects(*address); !why.empty())
      bad("witness", fmt::format("it does not answer at {}: {}", config_.witness, why),
          "start `understudyd witness` there: without it nobody is granted a term");
    else
      good("witness", "it answers at " + config_.witness);
  }

  // A member that is away is a weakness: the others go on.
  void etcd(const EtcdConfig& cluster) {
    std::size_t answering = 0;
    for (const EtcdEndpoint& endpoint : cluster.endpoints) {
      if (const std::string why = connects({endpoint.host, std::to_string(endpoint.port)}); why.empty()) {
        ++answering;
        good("etcd", "a member answers at " + endpoint.text());
      } else {
        warn("etcd", fmt::format("no member answers at {}: {}", endpoint.text(), why), "start it, or take it out of [etcd] endpoints");
      }
    }
    if (answering == 0)
      bad("etcd", "no member answers",
          "start the cluster: without it nobody is granted a term; then `understudyd arbiter show` tells the rest");
  }

  const DaemonConfig& config_;
  const HostPaths& paths_;
  const std::function<void(const Finding&)>& told_;
};

}  // namespace

const char* name_of(Grade grade) {
  switch (grade) {
    case Grade::kGood:
      return "good";
    case Grade::kWarning:
      return "warning";
    case Grade::kBad:
      return "bad";
  }
  return "unknown";
}

void examine_host(const DaemonConfig& config, const HostPaths& paths, const std::function<void(const Finding&)>& told) {
  Examination{config, paths, told}.all();
}

std::string finding_as_text(const Finding& finding) {
  std::string text = fmt::format("{:<8} {:<14} {}\n", name_of(finding.grade), finding.part, finding.found);
  if (!finding.mend.empty()) text += fmt::format("{:<23} mend: {}\n", "", finding.mend);
  return text;
}

std::string findings_as_json(const std::vector<Finding>& findings) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<schema::Findings>().initFindings(static_cast<unsigned>(findings.size()));
  for (unsigned i = 0; i < out.size(); ++i) {
    out[i].setGrade(name_of(findings[i].grade));
    out[i].setPart(findings[i].part);
    out[i].setFound(findings[i].found);
    out[i].setMend(findings[i].mend);
  }
  return as_json(out.asReader(), JsonForm::kIndented);
}

}  // namespace understudy
