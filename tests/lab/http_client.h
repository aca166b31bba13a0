// The client machine's web client: a thread that fetches one page again and again, over a new TCP connection each time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "net/base/addresses.h"
#include "net/base/clock.h"
#include "net/base/result.h"

namespace understudy::lab {

struct PageFetch {
  Instant started_at;
  Instant ended_at;
  std::string wrong;  // empty: the page came whole
};

// What is wrong with a server's whole answer, a sentence; empty: status 200 and exactly `page`. Pure.
std::string check_page(std::string_view answer, std::string_view page);

class HttpClient {
 public:
  struct Options {
    std::string page;                                // what GET / must give
    Duration pace = std::chrono::milliseconds{100};  // between the starts of two fetches, at least
    Duration patience = std::chrono::seconds{20};    // for one fetch
  };
  // Starts fetching at once, inside `network_namespace`.
  static std::unique_ptr<HttpClient> start(const Clock& clock, std::string network_namespace, Ipv4Address server, Options options);
  ~HttpClient() { finish(); }
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Waits for the fetch under way, and stops. Afterwards fetches() is the caller's.
  void finish();
  const std::vector<PageFetch>& fetches() const { return fetches_; }

 private:
  HttpClient(const Clock& clock, std::string network_namespace, Ipv4Address server, Options options);
  void run();
  Result<std::string> fetch() const;

  const Clock& clock_;
  const std::string network_namespace_;
  const Ipv4Address server_;
  const Options options_;
  std::atomic<bool> stopping_{false};
  std::vector<PageFetch> fetches_;  // the thread's, until it is joined
  std::thread thread_;
};

}  // namespace understudy::lab
