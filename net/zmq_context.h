// ZeroMQ's I/O threads, one set a process; sockets share it.
#pragma once

#include <memory>

namespace zmq {
class context_t;
}

namespace understudy {

class ZmqContext {
 public:
  // Starts `io_threads` threads of ZeroMQ's. They start with every signal blocked. Any thread may use the result.
  static std::shared_ptr<ZmqContext> create(int io_threads = 1);
  ~ZmqContext();  // waits until its sockets are closed; sockets hold the context, so in practice never blocks
  ZmqContext(const ZmqContext&) = delete;
  ZmqContext& operator=(const ZmqContext&) = delete;

  zmq::context_t& get() { return *context_; }

 private:
  explicit ZmqContext(int io_threads);
  std::unique_ptr<zmq::context_t> context_;
};

}  // namespace understudy
