// A real etcd on loopback: members as processes with folders and ports of their own, killed when the test ends.
#pragma once

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "net/base/unique_fd.h"

namespace understudy {

// Of the system, or as deploy/setup --tests unpacks it.
inline std::string etcd_program() {
  for (const char* const path : {"/usr/bin/etcd", UNDERSTUDY_UNPACKED_ETCD}) {
    if (::access(path, X_OK) == 0) return path;
  }
  ADD_FAILURE() << "etcd is neither installed nor in " UNDERSTUDY_UNPACKED_ETCD ": run deploy/setup --tests";
  return "/nowhere/etcd";
}

// Ports that nobody had a moment ago, all different.
inline std::vector<std::uint16_t> free_ports(std::size_t count) {
  std::vector<UniqueFd> held;
  std::vector<std::uint16_t> ports;
  while (ports.size() < count) {
    UniqueFd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    ports.push_back(ntohs(address.sin_port));
    held.push_back(std::move(socket));
  }
  return ports;
}

class EtcdProcess {
 public:
  EtcdProcess(std::vector<std::string> arguments, std::filesystem::path log) : arguments_{std::move(arguments)}, log_{std::move(log)} {
    start();
  }
  ~EtcdProcess() { kill(); }
  EtcdProcess(const EtcdProcess&) = delete;
  EtcdProcess& operator=(const EtcdProcess&) = delete;

  void start() {
    std::vector<char*> argv;
    for (auto& argument : arguments_) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    ASSERT_GE(pid_, 0);
    if (pid_ > 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int log = ::open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::dup2(log, 1);
    ::dup2(log, 2);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  void signal(int number) const { ::kill(pid_, number); }

 private:
  std::vector<std::string> arguments_;
  const std::filesystem::path log_;
  pid_t pid_ = -1;
};

// A cluster of so many members below `folder`. `tls`: arguments for https on the clients' side.
class EtcdCluster {
 public:
  EtcdCluster(std::filesystem::path folder, std::size_t members, const std::vector<std::string>& tls = {})
      : folder_{std::move(folder)}, ports_{free_ports(2 * members)}, scheme_{tls.empty() ? "http://" : "https://"} {
    std::filesystem::create_directories(folder_);
    std::string all;
    for (std::size_t i = 0; i < members; ++i)
      all += (i == 0 ? "" : ",") + name(i) + "=http://127.0.0.1:" + std::to_string(ports_[members + i]);
    for (std::size_t i = 0; i < members; ++i) {
      const auto peer = "http://127.0.0.1:" + std::to_string(ports_[members + i]);
      std::vector<std::string> arguments{etcd_program(), "--name", name(i), "--data-dir", (folder_ / name(i)).string(), "--log-level",
                                         "error", "--logger", "zap", "--listen-client-urls", url(i), "--advertise-client-urls", url(i),
                                         "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", all,
                                         // The id of a cluster follows from its token and its members' addresses.
                                         "--initial-cluster-token", folder_.string(), "--heartbeat-interval", "50", "--election-timeout",
                                         "500"};
      arguments.insert(arguments.end(), tls.begin(), tls.end());
      processes_.push_back(std::make_unique<EtcdProcess>(std::move(arguments), folder_ / (name(i) + ".log")));
    }
  }
  std::string url(std::size_t member) const { return scheme_ + "127.0.0.1:" + std::to_string(ports_[member]); }
  std::vector<std::string> urls() const {
    std::vector<std::string> all;
    for (std::size_t i = 0; i < processes_.size(); ++i) all.push_back(url(i));
    return all;
  }
  EtcdProcess& member(std::size_t i) { return *processes_[i]; }
  std::size_t size() const { return processes_.size(); }

 private:
  static std::string name(std::size_t i) { return "m" + std::to_string(i); }

  const std::filesystem::path folder_;
  const std::vector<std::uint16_t> ports_;
  const std::string scheme_;
  std::vector<std::unique_ptr<EtcdProcess>> processes_;
};

}  // namespace understudy
