// Decides who may connect: the ZAP handler (https://rfc.zeromq.org/spec/27/) of a process's ZeroMQ context. ZeroMQ asks it during each
// CURVE handshake at a listening socket, before any message of the connection is delivered. Private to net/ and the witness.
//
// A thread of its own, which never waits for anything else: a loop that stands still lets nobody in wrongly and keeps nobody out.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "net/base/result.h"
#include "net/base/unique_fd.h"
#include "net/curve_key.h"

namespace zmq {
class context_t;
class socket_t;
}  // namespace zmq

namespace understudy {

class Doorkeeper {
 public:
  // One a context. kFailed when the context has a handler already, or is out of sockets.
  static Result<std::unique_ptr<Doorkeeper>> start(zmq::context_t& context);
  ~Doorkeeper();
  Doorkeeper(const Doorkeeper&) = delete;
  Doorkeeper& operator=(const Doorkeeper&) = delete;

  // One listening socket's list of whom to let in, for as long as it lives. Any thread. Ends before the doorkeeper.
  class Door {
   public:
    static constexpr std::size_t kRefusedKept = 64;
    Door(Doorkeeper& keeper, std::string domain) : keeper_{keeper}, domain_{std::move(domain)} {}
    ~Door();
    Door(const Door&) = delete;
    Door& operator=(const Door&) = delete;
    const std::string& domain() const { return domain_; }  // the socket's ZAP domain
    // Whoever was refused longest ago, of those not yet taken; the latest kRefusedKept are kept.
    struct Refused {
      std::string address;
      CurvePublicKey key;
    };
    std::optional<Refused> take_refused();

   private:
    Doorkeeper& keeper_;
    const std::string domain_;
  };
  std::unique_ptr<Door> open_door(std::span<const CurvePublicKey> admitted);

  // The answer to one request, by its frames behind the envelope; empty for what is no ZAP request. For tests; any thread.
  std::vector<std::string> judge(std::span<const std::string> request);

 private:
  struct Admission {
    std::set<CurvePublicKey> keys;
    std::deque<Door::Refused> refused;
  };

  explicit Doorkeeper(std::unique_ptr<zmq::socket_t> socket, UniqueFd stop);
  void run();
  void answer();
  bool admits(const std::string& domain, const std::string& address, const CurvePublicKey& key);

  const std::unique_ptr<zmq::socket_t> socket_;  // the thread's
  const UniqueFd stop_;
  std::mutex mutex_;  // guards all below
  std::map<std::string, Admission> doors_;
  std::uint64_t last_door_ = 0;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace understudy
