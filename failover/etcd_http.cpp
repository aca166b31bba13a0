#include "failover/etcd_http.h"

#include <charconv>
#include <chrono>
#include <condition_variable>
#include <fcntl.h>
#include <fstream>
#include <httplib.h>
#include <iterator>
#include <mutex>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>

#include <arpa/inet.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "failover/etcd_codec.h"
#include "net/base/unique_fd.h"

namespace understudy {

std::optional<EtcdEndpoint> EtcdEndpoint::parse(std::string_view text) {
  EtcdEndpoint endpoint;
  constexpr std::string_view kPlain = "http://", kTls = "https://";
  endpoint.tls = text.starts_with(kTls);
  if (!endpoint.tls && !text.starts_with(kPlain)) return std::nullopt;
  text.remove_prefix(endpoint.tls ? kTls.size() : kPlain.size());
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto digits = text.substr(colon + 1);
  auto host = text.substr(0, colon);
  const auto [end, wrong] = std::from_chars(digits.data(), digits.data() + digits.size(), endpoint.port);
  if (wrong != std::errc{} || end != digits.data() + digits.size() || endpoint.port == 0) return std::nullopt;
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  endpoint.host = host;
  in6_addr address{};
  if (::inet_pton(bracketed ? AF_INET6 : AF_INET, endpoint.host.c_str(), &address) != 1) return std::nullopt;
  return endpoint;
}

std::string EtcdEndpoint::authority() const {
  const bool bracketed = host.find(':') != std::string::npos;
  return (bracketed ? '[' + host + ']' : host) + ':' + std::to_string(port);
}

std::string EtcdEndpoint::text() const { return (tls ? "https://" : "http://") + authority(); }

// The library's deadlines are per read and per write, so a peer that sends one byte at a time holds a request as long as it likes. This
// thread shuts the socket down when the whole request's time is over, and so does stop().
class EtcdRequestDeadline {
 public:
  using Time = std::chrono::steady_clock::time_point;

  EtcdRequestDeadline() : thread_{[this] { watch(); }} {}
  ~EtcdRequestDeadline() {
    stop();
    thread_.join();
  }

  // A new request; false: none is to go out any more.
  bool arm(Time deadline) {
    const std::lock_guard lock{mutex_};
    passed_ = false;
    at_ = deadline;
    changed_.notify_one();
    return !stopped_;
  }
  void disarm() {
    const std::lock_guard lock{mutex_};
    at_.reset();
  }
  // The socket that requests go over from now on. Not the descriptor itself, whose number may be another file's once the library closed it.
  void take(int socket) {
    const std::lock_guard lock{mutex_};
    socket_.reset(::fcntl(socket, F_DUPFD_CLOEXEC, 0));
    if (stopped_ || passed_) shut_down();
  }
  void stop() {
    const std::lock_guard lock{mutex_};
    stopped_ = true;
    shut_down();
    changed_.notify_one();
  }

 private:
  void watch() {
    std::unique_lock lock{mutex_};
    while (!stopped_) {
      if (!at_) {
        changed_.wait(lock);
      } else if (const Time at = *at_; std::chrono::steady_clock::now() < at) {
        changed_.wait_until(lock, at);
      } else {
        at_.reset();
        passed_ = true;
        shut_down();
      }
    }
  }
  void shut_down() {
    if (socket_) ::shutdown(socket_.get(), SHUT_RDWR);
    socket_.reset();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  UniqueFd socket_;
  std::optional<Time> at_;
  bool passed_ = false;
  bool stopped_ = false;
  std::thread thread_;
};

namespace {

Result<std::string> read_pem(const std::filesystem::path& path, const char* what) {
  std::ifstream file{path, std::ios::binary};
  std::string text{std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
  if (!file || text.empty()) return Error{ErrorCode::kInvalid, std::string{what} + ' ' + path.string() + ": cannot be read"};
  return text;
}

std::string openssl_words() {
  char words[256] = "";
  ERR_error_string_n(ERR_get_error(), words, sizeof words);
  ERR_clear_error();
  return words;
}

// The library reads its CA file when it first connects, which may be in the middle of a takeover: from memory, then, and not from a disk
// that has just failed (design: "Who may run the guest", rule 7).
Result<UniqueFd> file_in_memory(const std::string& content) {
  UniqueFd file{::memfd_create("etcd-ca", MFD_CLOEXEC)};
  if (!file || ::write(file.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()))
    return Error::from_errno("keep the CA's certificate in memory");
  return file;
}

Result<void> check_certificates(const std::filesystem::path& path) {
  X509_STORE* const store = X509_STORE_new();
  const bool good = X509_STORE_load_file(store, path.c_str()) == 1;
  X509_STORE_free(store);
  if (!good) return Error{ErrorCode::kInvalid, "CA file " + path.string() + ": " + openssl_words()};
  return {};
}

}  // namespace

class EtcdHttp::Impl {
 public:
  explicit Impl(const EtcdEndpoint& endpoint) : endpoint_{endpoint} {}

  Result<void> prepare(const std::optional<EtcdTls>& tls) {
    if (!endpoint_.tls) {
      client_ = std::make_unique<httplib::ClientImpl>(endpoint_.host, endpoint_.port);
    } else {
      if (!tls) return Error{ErrorCode::kInvalid, endpoint_.text() + ": https needs a CA file"};
      US_ASSIGN(const auto ca, read_pem(tls->ca, "CA file"));
      US_TRY(check_certificates(tls->ca));
      US_ASSIGN(ca_, file_in_memory(ca));
      std::unique_ptr<httplib::SSLClient> client;
      if (tls->cert.empty()) {
        client = std::make_unique<httplib::SSLClient>(endpoint_.host, endpoint_.port);
      } else {
        US_TRY(read_pem(tls->cert, "certificate"));
        US_TRY(read_pem(tls->key, "key"));
        client = std::make_unique<httplib::SSLClient>(endpoint_.host, endpoint_.port, tls->cert.string(), tls->key.string());
      }
      if (!client->is_valid() || (!tls->cert.empty() && SSL_CTX_check_private_key(client->ssl_context()) != 1))
        return Error{ErrorCode::kInvalid,
                     "certificate " + tls->cert.string() + " with key " + tls->key.string() + ": do not fit: " + openssl_words()};
      client->set_ca_cert_path("/proc/self/fd/" + std::to_string(ca_.get()));
      secure_ = client.get();
      client_ = std::move(client);
    }
    client_->set_keep_alive(true);
    client_->set_tcp_nodelay(true);
    client_->set_follow_location(false);
    client_->set_decompress(false);
    client_->set_url_encode(false);
    client_->set_socket_options([this](int socket) { deadline_.take(socket); });
    return {};
  }

  Result<std::string> post(const std::string& path, const std::string& json, Duration budget) {
    // Longer than the deadline, which shuts the socket down: a net below it, whose milliseconds are cut off.
    const auto timeout = std::chrono::ceil<std::chrono::microseconds>(budget + std::chrono::seconds{1});
    client_->set_connection_timeout(timeout);
    client_->set_read_timeout(timeout);
    client_->set_write_timeout(timeout);
    std::string body;
    bool too_large = false;
    httplib::Request request;
    request.method = "POST";
    request.path = path;
    request.headers = {{"Host", endpoint_.authority()}, {"Content-Type", "application/json"}, {"Accept-Encoding", "identity"}};
    request.body = json;
    request.content_receiver = [&](const char* data, std::size_t size, std::uint64_t, std::uint64_t) {
      too_large = size > kMaxEtcdAnswerBytes - body.size();
      if (!too_large) body.append(data, size);
      return !too_large;
    };
    httplib::Response response;
    auto error = httplib::Error::Success;
    const auto until = std::chrono::steady_clock::now() + budget;
    if (!deadline_.arm(until)) return Error{ErrorCode::kUnavailable, "stopped"};
    const bool answered = client_->send(request, response, error);
    deadline_.disarm();
    if (too_large) return Error{ErrorCode::kCorrupt, "an answer of more than " + std::to_string(kMaxEtcdAnswerBytes >> 10) + " KiB"};
    if (!answered && std::chrono::steady_clock::now() >= until)
      return Error{ErrorCode::kTimeout, "no answer within " + std::to_string(static_cast<long>(to_ms(budget))) + " ms"};
    if (!answered) return Error{ErrorCode::kUnavailable, why(error)};
    if (response.status == 200) return body;
    const auto words = decode_etcd_fault(body);
    return Error{response.status >= 500 ? ErrorCode::kUnavailable : ErrorCode::kCorrupt,
                 "HTTP status " + std::to_string(response.status) + (words.empty() ? "" : ": " + words)};
  }

  void cut() { deadline_.stop(); }
  std::string endpoint() const { return endpoint_.text(); }

 private:
  std::string why(httplib::Error error) const {
    switch (error) {
      case httplib::Error::Connection:
      case httplib::Error::ConnectionTimeout:
        return "no connection";
      case httplib::Error::Read:
      case httplib::Error::Write:
        return "the connection broke, or brought no HTTP answer";
      case httplib::Error::SSLConnection:
        return "the TLS handshake failed";
      case httplib::Error::SSLServerVerification: {
        const long result = secure_->get_openssl_verify_result();
        return std::string{"its certificate is not accepted: "} +
               (result == X509_V_OK ? "it is another address's" : X509_verify_cert_error_string(result));
      }
      default:
        return httplib::to_string(error);
    }
  }

  const EtcdEndpoint endpoint_;
  EtcdRequestDeadline deadline_;  // outlives the client, which hands its sockets to it
  UniqueFd ca_;
  std::unique_ptr<httplib::ClientImpl> client_;
  const httplib::SSLClient* secure_ = nullptr;
};

Result<std::unique_ptr<EtcdHttp>> EtcdHttp::create(const EtcdEndpoint& endpoint, const std::optional<EtcdTls>& tls) {
  auto impl = std::make_unique<Impl>(endpoint);
  US_TRY(impl->prepare(tls));
  return std::unique_ptr<EtcdHttp>{new EtcdHttp{std::move(impl)}};
}

EtcdHttp::EtcdHttp(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
EtcdHttp::~EtcdHttp() = default;
Result<std::string> EtcdHttp::post(const std::string& path, const std::string& json, Duration budget) {
  return impl_->post(path, json, budget);
}
void EtcdHttp::cut() { impl_->cut(); }
std::string EtcdHttp::endpoint() const { return impl_->endpoint(); }

}  // namespace understudy
