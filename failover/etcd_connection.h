// Where an etcd member listens, and what a request to it is: the seam between the arbiter's rules and HTTP.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "net/base/clock.h"
#include "net/base/result.h"

namespace understudy {

struct EtcdEndpoint {
  bool tls = false;
  std::string host;  // an IPv4 or IPv6 address, without brackets: a name server is one more thing that can be gone during a takeover
  std::uint16_t port = 0;
  friend bool operator==(const EtcdEndpoint&, const EtcdEndpoint&) = default;

  // "http://10.0.0.3:2379", "https://[fd00::3]:2379"; nullopt for anything else.
  static std::optional<EtcdEndpoint> parse(std::string_view text);
  std::string authority() const;  // "[fd00::3]:2379"
  std::string text() const;
};

// PEM files for https. All are read when a connection is made ready, and never again.
struct EtcdTls {
  std::filesystem::path ca;    // who may have signed the server's certificate, which must name the endpoint's address
  std::filesystem::path cert;  // the client's certificate and its key; both or neither
  std::filesystem::path key;
  friend bool operator==(const EtcdTls&, const EtcdTls&) = default;
};

// One member of the cluster. One thread, but for cut().
class EtcdConnection {
 public:
  virtual ~EtcdConnection() = default;
  // Sends `json` to `path` ("/v3/kv/txn") and waits for the answer's body, no longer than `budget`, connecting included. kTimeout;
  // kUnavailable: nothing came back, or etcd said that it cannot serve now; kCorrupt: an answer that is too large or makes no sense.
  virtual Result<std::string> post(const std::string& path, const std::string& json, Duration budget) = 0;
  // Ends the request that is out, and all later ones, at once. Any thread.
  virtual void cut() = 0;
  virtual std::string endpoint() const = 0;
};

}  // namespace understudy
