// The test guest (tests/guest) with its key-value service, as the lab's guest.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "tests/lab/guest_service.h"
#include "tests/lab/kv_client.h"

namespace understudy::lab {

class KvGuest final : public GuestService {
 public:
  struct Options {
    std::filesystem::path programs;  // holds the test guest
    // More words for the guest's command line. Beside its service it tortures memory on every further vCPU: a torn or mixed checkpoint
    // stops it.
    std::string guest_options = "background=torture duty_percent=10";
    Duration pace = std::chrono::microseconds{500};  // between requests, on average
  };
  KvGuest(const Clock& clock, Options options) : clock_{clock}, options_{std::move(options)} {}

  Result<GuestImage> image() const override;
  Result<void> start(const LabPair& pair, Duration deadline) override;
  std::uint64_t acknowledged() const override { return client_ ? client_->acknowledged() : 0; }
  Result<void> end_guest(guest::GuestEnd how) override;
  void finish(Duration deadline) override { client_->finish(deadline); }
  Result<void> judge(const LabPair& pair, const WireTap& wire, Outcome& outcome) override;

 private:
  const Clock& clock_;
  const Options options_;
  std::unique_ptr<KvClient> client_;
};

}  // namespace understudy::lab
