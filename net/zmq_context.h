// ZeroMQ's I/O threads, one set a process; sockets share it.
#pragma once

#include <memory>
#include <mutex>

#include "net/base/result.h"

namespace zmq {
class context_t;
}

namespace understudy {

class Doorkeeper;

class ZmqContext {
 public:
  // Starts `io_threads` threads of ZeroMQ's. They start with every signal blocked. Any thread may use the result.
  static std::shared_ptr<ZmqContext> create(int io_threads = 1);
  ~ZmqContext();  // waits until its sockets are closed; sockets hold the context, so in practice never blocks
  ZmqContext(const ZmqContext&) = delete;
  ZmqContext& operator=(const ZmqContext&) = delete;

  zmq::context_t& get() { return *context_; }
  // Of all this context's listening sockets; started when the first of them asks. Any thread.
  Result<Doorkeeper*> doorkeeper();

 private:
  explicit ZmqContext(int io_threads);
  std::unique_ptr<zmq::context_t> context_;
  std::mutex mutex_;  // guards doorkeeper_
  std::unique_ptr<Doorkeeper> doorkeeper_;
};

}  // namespace understudy
