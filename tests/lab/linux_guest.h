// A Linux guest with Redis and nginx (tests/guest/linux), as the lab's guest: one Redis client over one connection, one web client.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "net/base/ids.h"
#include "tests/lab/guest_service.h"
#include "tests/lab/http_client.h"
#include "tests/lab/redis_client.h"

namespace understudy::lab {

class LinuxGuest final : public GuestService {
 public:
  struct Options {
    // Holds `vmlinux` and `root.img`, as tests/guest/linux/build leaves them; an `initrd` there is used too, for kernels that need one.
    std::filesystem::path files;
    unsigned slowness = 1;  // as LabPair's
    std::string words{};    // more of them for the kernel's command line
  };
  LinuxGuest(const Clock& clock, Options options) : clock_{clock}, options_{std::move(options)} {}

  Result<GuestImage> image() const override;
  Result<void> start(const LabPair& pair, Duration deadline) override;
  std::uint64_t acknowledged() const override { return redis_ ? redis_->acknowledged() : 0; }
  Result<void> end_guest(guest::GuestEnd how) override;
  void finish(Duration deadline) override;
  Result<void> judge(const LabPair& pair, const WireTap& wire, Outcome& outcome) override;

 private:
  Result<void> order(const std::string& word, Duration deadline) const;
  Result<void> power_off(const LabPair& pair, NodeId host) const;

  const Clock& clock_;
  const Options options_;
  std::unique_ptr<RedisClient> redis_;
  std::unique_ptr<HttpClient> web_;
};

}  // namespace understudy::lab
