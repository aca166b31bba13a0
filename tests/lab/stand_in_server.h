// A stand-in for a guest's TCP services, to test their clients without a machine: a server on one of the hosts, under the guest's
// addresses.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "net/base/result.h"
#include "net/base/unique_fd.h"

namespace understudy::lab {

class StandInServer {
 public:
  struct Answer {
    std::string bytes;
    bool closes = false;  // the connection, after the bytes
  };
  // Takes what it uses from the front of what a connection has received. On the server's thread.
  using Service = std::function<Answer(std::string_view& received)>;

  static Result<std::unique_ptr<StandInServer>> start(const std::string& host, std::uint16_t port, Service service);
  ~StandInServer();  // ends every connection
  StandInServer(const StandInServer&) = delete;
  StandInServer& operator=(const StandInServer&) = delete;

  // Connections taken so far. Any thread.
  unsigned connections() const { return accepted_; }

 private:
  StandInServer(UniqueFd socket, Service service) : socket_{std::move(socket)}, service_{std::move(service)} {}
  void run();
  void accept_one();
  bool serve(int connection, std::string& received);

  const UniqueFd socket_;
  const Service service_;
  std::atomic<bool> stopping_{false};
  std::atomic<unsigned> accepted_{0};
  std::map<int, std::pair<UniqueFd, std::string>> connections_;  // the thread's: with what was received and not used
  std::thread thread_;
};

}  // namespace understudy::lab
