// An etcd member over HTTP or HTTPS, kept connected between requests.
#pragma once

#include <memory>

#include "failover/etcd_connection.h"

namespace understudy {

// An answer that is larger than this is refused: records are a few hundred bytes.
inline constexpr std::size_t kMaxEtcdAnswerBytes = std::size_t{64} << 10;

class EtcdHttp final : public EtcdConnection {
 public:
  // Connects with the first request. `tls` for https endpoints: kInvalid says which of its files is no good. The thread that posts must
  // have SIGPIPE blocked or ignored.
  static Result<std::unique_ptr<EtcdHttp>> create(const EtcdEndpoint& endpoint, const std::optional<EtcdTls>& tls);
  ~EtcdHttp() override;

  Result<std::string> post(const std::string& path, const std::string& json, Duration budget) override;
  void cut() override;
  std::string endpoint() const override;

 private:
  class Impl;
  explicit EtcdHttp(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace understudy
