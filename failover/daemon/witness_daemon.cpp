#include "failover/daemon/witness_daemon.h"

#include <fstream>
#include <optional>

#include <fmt/format.h>

#include "failover/daemon/on_loop.h"
#include "failover/witness_server.h"
#include "net/base/log.h"
#include "net/zmq_context.h"

namespace understudy {

namespace {

// One public key, or those of a file.
Result<void> add_allowed(const std::string& word, std::vector<CurvePublicKey>& to) {
  if (const auto key = CurvePublicKey::parse(word)) {  // first: a key that was made elsewhere may begin with the sign
    to.push_back(*key);
    return {};
  }
  if (!word.starts_with('@'))
    return Error{ErrorCode::kInvalid, fmt::format("--allow {}: expected a public key of 40 characters, or @FILE", word)};
  const std::string path = word.substr(1);
  std::ifstream file{path};
  if (!file) return Error::from_errno("read --allow " + path);
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line.starts_with("# ")) continue;  // a key may begin with the sign, but has no space
    const auto key = CurvePublicKey::parse(line);
    if (!key) return Error{ErrorCode::kInvalid, fmt::format("--allow {}:{}: expected a public key of 40 characters", path, number)};
    to.push_back(*key);
  }
  return {};
}

// nullopt: insecure, as wished.
Result<std::optional<ServiceKeys>> keys_of(const WitnessOptions& options) {
  if (options.insecure) {
    if (!options.key_file.empty() || !options.allowed.empty())
      return Error{ErrorCode::kInvalid, "witness: expected either --key and --allow, or --insecure, found both"};
    return std::optional<ServiceKeys>{};
  }
  if (options.key_file.empty() || options.allowed.empty())
    return Error{
        ErrorCode::kInvalid,
        "witness: expected --key FILE (made by `understudy keygen FILE`) and --allow with each node's public key; or --insecure, on "
        "a network that you trust"};
  US_ASSIGN(const auto own, load_secret_key(options.key_file));
  ServiceKeys keys{.own = own, .admitted = {}};
  for (const auto& word : options.allowed) US_TRY(add_allowed(word, keys.admitted));
  return std::optional{std::move(keys)};
}

class Running final : public WitnessDaemon {
 public:
  static Result<std::unique_ptr<Running>> start(const WitnessOptions& options, const Clock& clock) {
    auto running = std::make_unique<Running>();
    US_ASSIGN(const auto keys, keys_of(options));
    US_ASSIGN(running->store_, WitnessStore::open(options.store, options.open));
    US_ASSIGN(running->thread_, LoopThread::start(clock, "witness"));
    US_TRY(on_loop(running->thread_->loop(), [&]() -> Result<void> {
      US_ASSIGN(running->server_,
                WitnessServer::create(running->thread_->loop(), ZmqContext::create(), *running->store_, options.listen, keys));
      return {};
    }));
    log(Severity::kInfo, "witness listens", {{"endpoint", running->server_->endpoint()}, {"store", options.store.string()}});
    if (!keys) log(Severity::kWarning, "witness is insecure: whoever reaches it may take the guest's term from its pair");
    return running;
  }
  ~Running() override {
    if (thread_) static_cast<void>(on_loop(thread_->loop(), [&]() -> Result<void> { return server_.reset(), Result<void>{}; }));
  }

 private:
  std::unique_ptr<WitnessStore> store_;
  std::unique_ptr<WitnessServer> server_;
  std::unique_ptr<LoopThread> thread_;
};

}  // namespace

Result<std::unique_ptr<WitnessDaemon>> start_witness(const WitnessOptions& options, const Clock& clock) {
  US_ASSIGN(auto running, Running::start(options, clock));
  return std::unique_ptr<WitnessDaemon>{std::move(running)};
}

}  // namespace understudy
