// `understudy`: the operator's command. It asks the local understudyd and shows the answer.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "failover/daemon/config.h"
#include "failover/daemon/console_client.h"
#include "failover/daemon/doctor.h"
#include "failover/daemon/explain.h"
#include "failover/daemon/operator_socket.h"
#include "failover/daemon/status.h"
#include "failover/pair_command.h"

namespace understudy {
namespace {

constexpr Duration kStatusDeadline = std::chrono::seconds{5};
constexpr Duration kCommandDeadline = std::chrono::seconds{60};  // a switchover waits for an epoch, a grant and a restore

constexpr const char* kAbout =
    "Shows and steers one node of a pair: a virtual machine that runs on one host and is kept ready on another.\n\n"
    "  understudy status               what runs where, and whether it is protected\n"
    "  understudy status --watch       the same, again every second\n"
    "  understudy explain              why it is so, and how it came to that\n"
    "  understudy events --follow      what this node sees and does, as it happens\n"
    "  understudy doctor --config FILE what this host lacks, and how to mend it\n"
    "  understudy switchover           on the primary: move the guest to the other host, both hosts alive\n"
    "  understudy takeover             on the secondary: take the guest over now, the other host being sick or gone\n"
    "  understudy start                start a guest again that powered off or crashed\n"
    "  understudy console              where the guest runs: its serial console on this terminal; leave it with Ctrl-]\n"
    "  understudy power-button         where the guest runs: ask it to shut itself down, as its power button does\n"
    "  understudy keygen FILE          make this host's key\n"
    "  understudy pair                 on both hosts: exchange the keys' public halves, with a code that you compare\n"
    "  understudy balloon [MIB]        where the guest runs: how much memory it gives back; with MIB, ask it for so much\n\n"
    "A takeover asks the witness for the next term, so two hosts never run the guest; what clients were told is never lost by it.\n";

void print(const std::string& text) { std::fputs(text.c_str(), stdout); }

int fail(const Error& error) {
  std::fprintf(stderr, "understudy: %s\n", error.text().c_str());
  return 1;
}

int show_status(const std::filesystem::path& socket, bool json) {
  std::string text;
  const auto asked = ask_daemon(
      socket, schema::OperatorRequest::Command::STATUS, kStatusDeadline,
      [&](schema::OperatorReply::Reader reply) { text = json ? status_as_json(reply.getStatus()) : status_as_text(reply.getStatus()); });
  if (!asked) return fail(asked.error());
  print(text);
  std::fflush(stdout);
  return 0;
}

int watch_status(const std::filesystem::path& socket, bool json) {
  const bool terminal = ::isatty(STDOUT_FILENO) != 0;
  while (true) {
    if (terminal) print("\033[H\033[2J");
    if (const int code = show_status(socket, json); code != 0) return code;
    std::this_thread::sleep_for(std::chrono::seconds{1});
  }
}

int command(const std::filesystem::path& socket, const OperatorCall& which) {
  bool ok = false;
  std::string sentence;
  const auto asked = ask_daemon(socket, which, kCommandDeadline, [&](schema::OperatorReply::Reader reply) {
    ok = reply.getOk();
    sentence = reply.getSentence().cStr();
  });
  if (!asked) return fail(asked.error());
  if (!ok) return fail(Error{ErrorCode::kRefused, sentence});
  print(sentence + "\n");
  return 0;
}

int console(const std::filesystem::path& socket) {
  const auto stop = take_stop_signals();
  if (!stop) return fail(stop.error());
  std::fprintf(stderr, "console of the guest; leave it with Ctrl-]\n");
  const auto ended = [&] {
    const RawTerminal raw{STDIN_FILENO};
    return attach_console(socket, {.in = STDIN_FILENO, .out = STDOUT_FILENO, .stop = stop->get()});
  }();
  std::fputc('\n', stderr);
  return ended ? 0 : fail(ended.error());
}

// The living daemon's flight recorder, or, with `state`, a dead one's.
Result<std::unique_ptr<FlightSource>> flight_source(const std::filesystem::path& socket, const std::string& state) {
  if (state.empty()) return flight_of_daemon(socket);
  return flight_of_files(state);
}

int show_events(const std::filesystem::path& socket, const std::string& state, bool json, bool follow, std::size_t last) {
  auto source = flight_source(socket, state);
  if (!source) return fail(source.error());
  auto events = all_events(**source);
  if (!events) return fail(events.error());
  const auto show = [&](std::span<const FlightEvent> some) {
    for (const FlightEvent& event : some) print(json ? event_as_json(event) : event_as_text(event));
    std::fflush(stdout);
  };
  show(std::span{*events}.last(std::min(last, events->size())));
  std::uint64_t next = events->empty() ? 0 : events->back().serial + 1;
  while (follow) {
    std::this_thread::sleep_for(std::chrono::milliseconds{500});
    const auto more = (*source)->events(next);
    if (!more) return fail(more.error());
    show(*more);
    if (!more->empty()) next = more->back().serial + 1;
  }
  return 0;
}

int show_explanation(const std::filesystem::path& socket, const std::string& state, bool json) {
  auto source = flight_source(socket, state);
  if (!source) return fail(source.error());
  const auto events = all_events(**source);
  if (!events) return fail(events.error());
  if (!state.empty()) {
    print(json ? explain_as_json(std::nullopt, *events) : explain(std::nullopt, *events));
    return 0;
  }
  const auto asked =
      ask_daemon(socket, schema::OperatorRequest::Command::STATUS, kStatusDeadline, [&](schema::OperatorReply::Reader reply) {
        print(json ? explain_as_json(reply.getStatus(), *events) : explain(reply.getStatus(), *events));
      });
  return asked ? 0 : fail(asked.error());
}

int show_replay(const std::filesystem::path& socket, const std::string& state, bool json) {
  auto source = flight_source(socket, state);
  if (!source) return fail(source.error());
  const auto summary = replay_all(**source);
  if (!summary) return fail(summary.error());
  print(json ? replay_as_json(*summary) : replay_as_text(*summary));
  return summary->differences.empty() ? 0 : 1;
}

int examine(const std::string& config_file, bool json) {
  const auto config = load_config(config_file);
  if (!config) return fail(config.error());
  std::vector<Finding> findings;
  examine_host(*config, {}, [&](const Finding& finding) {
    findings.push_back(finding);
    if (json) return;
    print(finding_as_text(finding));
    std::fflush(stdout);
  });
  if (json) print(findings_as_json(findings));
  const auto count = [&](Grade grade) { return std::ranges::count(findings, grade, &Finding::grade); };
  if (!json) std::printf("%zu looked at: %td bad, %td with a weakness\n", findings.size(), count(Grade::kBad), count(Grade::kWarning));
  return count(Grade::kBad) == 0 ? 0 : 1;
}

int make_key(const std::string& file, bool only_show) {
  if (only_show) {
    const auto key = load_secret_key(file);
    if (!key) return fail(key.error());
    print(key->public_key().text() + "\n");
    return 0;
  }
  const auto made = make_key_file(file);
  if (!made) return fail(made.error());
  std::fprintf(stderr, "%s holds this host's secret key; this is its public key:\n", file.c_str());
  print(made->text() + "\n");
  return 0;
}

int pair(PairOptions options, unsigned timeout_s) {
  const MonotonicClock clock;
  options.timeout = std::chrono::seconds{timeout_s};
  options.listening = [](const std::string& endpoint) { std::fprintf(stderr, "waiting for the other host at %s\n", endpoint.c_str()); };
  const auto same_code = [&](const std::string& code, Instant give_up) { return ask_for_same_code(STDIN_FILENO, code, give_up, clock); };
  const auto peer = exchange_keys(options, same_code, clock);
  if (!peer) return fail(peer.error());
  std::fprintf(stderr, "for [security] in this node's configuration:\n");
  print("peer_key = \"" + peer->text() + "\"\n");
  return 0;
}

int run(int argc, char** argv) {
  CLI::App app{kAbout, "understudy"};
  app.set_version_flag("--version", std::string{UNDERSTUDY_VERSION});
  app.require_subcommand(1);
  std::string socket = "/run/understudy/understudy.sock";
  app.add_option("--socket", socket, "the daemon's socket: [state] socket in its configuration")
      ->envname("UNDERSTUDY_SOCKET")
      ->capture_default_str();

  bool json = false;
  bool watch = false;
  CLI::App* const status =
      app.add_subcommand("status", "what this node does, why, and how well: role, term, epochs, gate, probes, timeline");
  status->add_flag("--json", json, "one JSON object, for scripts");
  status->add_flag("--watch", watch, "again every second, until interrupted");
  CLI::App* const switchover =
      app.add_subcommand("switchover", "on the primary: hand the guest to the other host after a last epoch; its pause is about one epoch");
  CLI::App* const takeover =
      app.add_subcommand("takeover", "on the secondary: take the guest over now; refused, with the reason, when this node may not");
  CLI::App* const start = app.add_subcommand(
      "start", "start a guest again that ended by itself: on the node that held it, or on the secondary when that one is gone");
  CLI::App* const power_button = app.add_subcommand(
      "power-button",
      "where the guest runs: press its power button (ACPI), so that it shuts itself down in order. It is then over on both "
      "hosts, and `start` starts it again. A guest that does not listen goes on");
  CLI::App* const attach = app.add_subcommand("console", "the guest's serial console on this terminal; Ctrl-] leaves it");
  std::optional<std::uint64_t> balloon_mib;
  CLI::App* const balloon = app.add_subcommand("balloon", "how much memory the guest was asked to give back, and gave back");
  balloon->add_option("MIB", balloon_mib, "ask it to give back so much, in MiB; 0: take all of it again")->check(CLI::Range(0, 1 << 20));
  std::string state;
  bool follow = false;
  std::size_t last = 50;
  CLI::App* const events = app.add_subcommand("events", "what this node saw and did, oldest first");
  events->add_option("--last", last, "so many of the latest")->capture_default_str();
  events->add_flag("--follow", follow, "and then each new one, until interrupted");
  bool replayed = false;
  CLI::App* const explained =
      app.add_subcommand("explain", "why this node is in its state: what led to its latest change of roles, and what was refused since");
  explained->add_flag("--replay", replayed,
                      "run all that is recorded through the decisions again, and tell whether they come out the same");
  for (CLI::App* const sub : {events, explained}) {
    sub->add_flag("--json", json, "JSON, for scripts");
    sub->add_option("--state", state, "of a daemon that does not run: its [state] dir")->check(CLI::ExistingDirectory);
  }
  std::string config_file;
  CLI::App* const doctor = app.add_subcommand(
      "doctor",
      "looks this host over for what its node needs, before or while it runs, and says what to mend; exit status 1 when something is bad");
  doctor->add_option("--config", config_file, "the node's TOML file")->required();
  doctor->add_flag("--json", json, "JSON, for scripts");
  std::string key_file;
  bool only_show = false;
  CLI::App* const keygen = app.add_subcommand(
      "keygen",
      "makes a secret key in a new file that only its owner can read ([security] key), and prints its public key for the other side");
  keygen->add_option("FILE", key_file, "such as /etc/understudy/node.key")->required();
  keygen->add_flag("--show", only_show, "print the public key of a file that is there");
  PairOptions pair_options;
  unsigned pair_timeout_s = 300;
  CLI::App* const pairing = app.add_subcommand(
      "pair",
      "exchanges public keys with the other host, where it runs as well, and prints the line for [security]: both show a code, and you "
      "say whether the codes are equal\n\n"
      "  host-a: understudy pair --key /etc/understudy/node.key --listen tcp://10.77.1.1:7009\n"
      "  host-b: understudy pair --key /etc/understudy/node.key --connect tcp://10.77.1.1:7009");
  pairing->add_option("--key", pair_options.key_file, "this host's secret key")->required();
  auto* const listen_option = pairing->add_option("--listen", pair_options.listen, "on one host: where it waits for the other");
  pairing->add_option("--connect", pair_options.connect, "on the other: where that one waits")->excludes(listen_option);
  pairing->add_option("--timeout", pair_timeout_s, "seconds for all of it")->check(CLI::Range(1, 3600))->capture_default_str();
  for (CLI::App* const sub : {status, switchover, takeover, start, power_button, attach, balloon, events, explained}) sub->fallthrough();

  CLI11_PARSE(app, argc, argv);
  if (status->parsed()) return watch ? watch_status(socket, json) : show_status(socket, json);
  if (keygen->parsed()) return make_key(key_file, only_show);
  if (pairing->parsed()) return pair(std::move(pair_options), pair_timeout_s);
  if (doctor->parsed()) return examine(config_file, json);
  if (events->parsed()) return show_events(socket, state, json, follow, last);
  if (explained->parsed()) return replayed ? show_replay(socket, state, json) : show_explanation(socket, state, json);
  if (attach->parsed()) return console(socket);
  if (balloon->parsed()) {
    OperatorCall call{schema::OperatorRequest::Command::BALLOON};
    call.balloon_mib = balloon_mib;
    return command(socket, call);
  }
  if (switchover->parsed()) return command(socket, schema::OperatorRequest::Command::SWITCHOVER);
  if (power_button->parsed()) return command(socket, schema::OperatorRequest::Command::POWER_BUTTON);
  if (start->parsed()) return command(socket, schema::OperatorRequest::Command::START);
  return command(socket, schema::OperatorRequest::Command::TAKEOVER);
}

}  // namespace
}  // namespace understudy

int main(int argc, char** argv) { return understudy::run(argc, argv); }
