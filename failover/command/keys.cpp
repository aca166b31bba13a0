// `understudy keygen` and `pair`: without a daemon.
#include <cstdio>
#include <memory>
#include <unistd.h>

#include "failover/command/command.h"
#include "failover/pair_command.h"

namespace understudy::command {

namespace {

struct KeyOptions {
  std::string file;
  bool only_show = false;
  PairOptions pair{};
  unsigned timeout_s = 300;
};

int keygen(const KeyOptions& options) {
  if (options.only_show) {
    const auto key = load_secret_key(options.file);
    if (!key) return fail(key.error());
    print(key->public_key().text() + "\n");
    return kDone;
  }
  const auto made = make_key_file(options.file);
  if (!made) return fail(made.error());
  std::fprintf(stderr, "%s holds this host's secret key; this is its public key:\n", options.file.c_str());
  print(made->text() + "\n");
  return kDone;
}

int pair(KeyOptions options) {
  const MonotonicClock clock;
  options.pair.timeout = std::chrono::seconds{options.timeout_s};
  options.pair.listening = [](const std::string& endpoint) {
    std::fprintf(stderr, "waiting for the other host at %s\n", endpoint.c_str());
  };
  const auto same_code = [&](const std::string& code, Instant give_up) { return ask_for_same_code(STDIN_FILENO, code, give_up, clock); };
  const auto peer = exchange_keys(options.pair, same_code, clock);
  if (!peer) return fail(peer.error());
  std::fprintf(stderr, "for [security] in this node's configuration:\n");
  print("peer_key = \"" + peer->text() + "\"\n");
  return kDone;
}

}  // namespace

void add_keys(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<KeyOptions>();
  CLI::App* const making = add_command(
      app, "keygen", "makes a secret key in a new file that only its owner can read ([security] key), and prints its public key",
      "understudy keygen /etc/understudy/host.key");
  making->add_option("FILE", options->file, "never overwritten")->required();
  making->add_flag("--show", options->only_show, "print the public key of a file that is there");
  making->callback([&invocation, options] { invocation.run = [options] { return keygen(*options); }; });

  CLI::App* const pairing = add_command(app, "pair",
                                        "exchanges public keys with the other host, where it runs as well, and prints the line for "
                                        "[security]. Both show a code: say yes when "
                                        "they are equal, for if somebody stands between they are not",
                                        "host-a: understudy pair --key /etc/understudy/host.key --listen tcp://10.77.1.1:7009\n"
                                        "  host-b: understudy pair --key /etc/understudy/host.key --connect tcp://10.77.1.1:7009");
  pairing->add_option("--key", options->pair.key_file, "this host's secret key")->required();
  auto* const listen = pairing->add_option("--listen", options->pair.listen, "on one host: where it waits for the other");
  pairing->add_option("--connect", options->pair.connect, "on the other: where that one waits")->excludes(listen);
  pairing->add_option("--timeout", options->timeout_s, "seconds for all of it")->check(CLI::Range(1, 3600))->capture_default_str();
  pairing->callback([&invocation, options] { invocation.run = [options] { return pair(*options); }; });
}

}  // namespace understudy::command
