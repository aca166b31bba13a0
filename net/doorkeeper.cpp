#include "net/doorkeeper.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <pthread.h>

#include <sys/eventfd.h>
#include <zmq.hpp>

#include "net/base/check.h"

namespace understudy {

namespace {
constexpr const char* kEndpoint = "inproc://zeromq.zap.01";
}  // namespace

Result<std::unique_ptr<Doorkeeper>> Doorkeeper::start(zmq::context_t& context) {
  UniqueFd stop{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!stop) return Error::from_errno("make an event descriptor");
  try {
    auto socket = std::make_unique<zmq::socket_t>(context, zmq::socket_type::rep);
    socket->set(zmq::sockopt::linger, 0);
    socket->bind(kEndpoint);
    return std::unique_ptr<Doorkeeper>{new Doorkeeper{std::move(socket), std::move(stop)}};
  } catch (const zmq::error_t& error) {
    return Error{ErrorCode::kFailed, std::string{"start the doorkeeper of the links: "} + error.what()};
  }
}

Doorkeeper::Doorkeeper(std::unique_ptr<zmq::socket_t> socket, UniqueFd stop)
    : socket_{std::move(socket)}, stop_{std::move(stop)}, thread_{[this] { run(); }} {
  ::pthread_setname_np(thread_.native_handle(), "doorkeeper");
}

Doorkeeper::~Doorkeeper() {
  US_CHECK(::eventfd_write(stop_.get(), 1) == 0);
  thread_.join();
}

void Doorkeeper::run() {
  std::array<zmq_pollitem_t, 2> items{{{socket_->handle(), 0, ZMQ_POLLIN, 0}, {nullptr, stop_.get(), ZMQ_POLLIN, 0}}};
  while (true) {
    if (zmq_poll(items.data(), items.size(), -1) < 0) {
      US_CHECK(errno == EINTR);
      continue;
    }
    if (items[1].revents != 0) return;
    if (items[0].revents != 0) answer();
  }
}

void Doorkeeper::answer() {
  std::vector<std::string> request;
  for (bool more = true; more;) {
    zmq::message_t part;
    int got = -1;
    do {
      got = zmq_msg_recv(part.handle(), socket_->handle(), 0);
    } while (got < 0 && errno == EINTR);
    US_CHECK(got >= 0);
    more = part.more();
    request.push_back(part.to_string());
  }
  // REP answers each request. One that is none gets an answer that ZeroMQ takes for a refusal.
  auto reply = judge(request);
  if (reply.empty()) reply = {"1.0", "", "500", "no ZAP request", "", ""};
  for (std::size_t i = 0; i < reply.size(); ++i) {
    int sent = -1;
    do {
      sent = zmq_send(socket_->handle(), reply[i].data(), reply[i].size(), i + 1 < reply.size() ? ZMQ_SNDMORE : 0);
    } while (sent < 0 && errno == EINTR);
    US_CHECK(sent >= 0);  // a connection that is gone meanwhile loses its answer, silently
  }
}

// Frames of a request: version, request id, domain, address, identity, mechanism, credentials; of a reply: version, request id, status
// code, status text, user id, metadata.
std::vector<std::string> Doorkeeper::judge(std::span<const std::string> request) {
  if (request.size() < 6 || request[0] != "1.0") return {};
  bool admitted = false;
  if (request[5] == "CURVE" && request.size() == 7 && request[6].size() == std::tuple_size_v<CurveKeyBytes>) {
    CurveKeyBytes key{};
    std::ranges::copy(request[6], key.begin());
    admitted = admits(request[2], request[3], CurvePublicKey{key});
  }
  return {"1.0", request[1], admitted ? "200" : "400", admitted ? "OK" : "this key is not admitted", "", ""};
}

bool Doorkeeper::admits(const std::string& domain, const std::string& address, const CurvePublicKey& key) {
  const std::lock_guard lock{mutex_};
  const auto door = doors_.find(domain);
  if (door == doors_.end()) return false;
  if (door->second.keys.contains(key)) return true;
  auto& refused = door->second.refused;
  refused.push_back({address, key});
  if (refused.size() > Door::kRefusedKept) refused.pop_front();
  return false;
}

std::unique_ptr<Doorkeeper::Door> Doorkeeper::open_door(std::span<const CurvePublicKey> admitted) {
  const std::lock_guard lock{mutex_};
  auto domain = "understudy/" + std::to_string(++last_door_);
  doors_[domain].keys.insert(admitted.begin(), admitted.end());
  return std::make_unique<Door>(*this, std::move(domain));
}

Doorkeeper::Door::~Door() {
  const std::lock_guard lock{keeper_.mutex_};
  keeper_.doors_.erase(domain_);
}

std::optional<Doorkeeper::Door::Refused> Doorkeeper::Door::take_refused() {
  const std::lock_guard lock{keeper_.mutex_};
  auto& refused = keeper_.doors_.at(domain_).refused;
  if (refused.empty()) return std::nullopt;
  auto first = std::move(refused.front());
  refused.pop_front();
  return first;
}

}  // namespace understudy
