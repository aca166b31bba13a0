#include "tests/lab/http_client.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <poll.h>
#include <utility>

#include <fmt/format.h>
#include <sys/socket.h>

#include "tests/lab/client_socket.h"

namespace understudy::lab {

namespace {

constexpr std::uint16_t kHttpPort = 80;
// Without keep-alive: the server's closing of the connection is the answer's end (RFC 1945).
constexpr std::string_view kRequest = "GET / HTTP/1.0\r\nHost: guest\r\n\r\n";
constexpr std::size_t kMaxAnswerBytes = std::size_t{4} << 20;

}  // namespace

std::string check_page(std::string_view answer, std::string_view page) {
  const auto status_end = answer.find("\r\n");
  const auto head_end = answer.find("\r\n\r\n");
  if (status_end == std::string_view::npos || head_end == std::string_view::npos)
    return fmt::format("the answer of {} bytes has no whole head", answer.size());
  const auto status = answer.substr(0, status_end);
  if (!status.starts_with("HTTP/1.") || !status.substr(std::min<std::size_t>(8, status.size())).starts_with(" 200"))
    return fmt::format("the server answered '{}'", status.substr(0, 80));
  const auto body = answer.substr(head_end + 4);
  if (body == page) return {};
  const auto same = static_cast<std::size_t>(std::ranges::mismatch(body, page).in1 - body.begin());
  return fmt::format("the page has {} bytes and differs after {}; expected {} bytes", body.size(), same, page.size());
}

std::unique_ptr<HttpClient> HttpClient::start(const Clock& clock, std::string network_namespace, Ipv4Address server, Options options) {
  std::unique_ptr<HttpClient> client{new HttpClient{clock, std::move(network_namespace), server, std::move(options)}};
  client->thread_ = std::thread{[raw = client.get()] { raw->run(); }};
  return client;
}

HttpClient::HttpClient(const Clock& clock, std::string network_namespace, Ipv4Address server, Options options)
    : clock_{clock}, network_namespace_{std::move(network_namespace)}, server_{server}, options_{std::move(options)} {}

void HttpClient::finish() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

void HttpClient::run() {
  while (!stopping_) {
    PageFetch fetched{.started_at = clock_.now(), .ended_at = {}, .wrong = {}};
    if (const auto answer = fetch(); answer)
      fetched.wrong = check_page(*answer, options_.page);
    else
      fetched.wrong = answer.error().text();
    fetched.ended_at = clock_.now();
    fetches_.push_back(fetched);
    while (!stopping_ && clock_.now() < fetched.started_at + options_.pace) std::this_thread::sleep_for(std::chrono::milliseconds{5});
  }
}

Result<std::string> HttpClient::fetch() const {
  const Instant give_up_at = clock_.now() + options_.patience;
  const auto timeout = [&](const char* what) {
    return Error{ErrorCode::kTimeout, fmt::format("{} within {:.0f} s", what, to_ms(options_.patience) / 1000)};
  };
  US_ASSIGN(const auto socket, open_client_socket(network_namespace_, Transport::kTcp, server_, kHttpPort));
  if (!wait_for(socket, POLLOUT, clock_, give_up_at)) return timeout("the web server took no connection");
  US_TRY(socket_error(socket, "connect to the web server"));
  if (::send(socket.get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(kRequest.size()))
    return Error::from_errno("write to the web server");
  std::string answer;
  std::array<char, 16384> buffer;
  while (answer.size() < kMaxAnswerBytes) {
    if (!wait_for(socket, POLLIN, clock_, give_up_at)) return timeout("the page did not come whole");
    const auto received = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (received < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (received < 0) return Error::from_errno("read from the web server");
    if (received == 0) return answer;
    answer.append(buffer.data(), static_cast<std::size_t>(received));
  }
  return Error{ErrorCode::kCorrupt, "the web server's answer has no end"};
}

}  // namespace understudy::lab
