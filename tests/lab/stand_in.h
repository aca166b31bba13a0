// A stand-in for the guest, to test the lab without a machine: the guest's own key-value service behind a UDP socket on one of the hosts,
// under the guest's addresses. It can be copied, stopped and made to forget, as a pair that loses acknowledged state would.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>

#include "net/base/result.h"
#include "net/base/unique_fd.h"
#include "tests/guest/kv_service.h"

namespace understudy::lab {

// Makes `host` answer under the guest's addresses.
Result<void> take_guest_addresses(const std::string& host);

class StandIn {
 public:
  // Takes the guest's addresses on `host` and answers there, from `state` on.
  static Result<std::unique_ptr<StandIn>> start(const std::string& host, const guest::KvService& state);
  ~StandIn() { stop(); }
  StandIn(const StandIn&) = delete;
  StandIn& operator=(const StandIn&) = delete;

  // Falls silent; its state then.
  guest::KvService stop();

 private:
  StandIn(UniqueFd socket, const guest::KvService& state) : socket_{std::move(socket)}, service_{state} {}
  void run();

  UniqueFd socket_;
  std::atomic<bool> stopping_{false};
  guest::KvService service_;  // the thread's, until it is joined
  std::thread thread_;
};

}  // namespace understudy::lab
