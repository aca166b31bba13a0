// What shows how a node is and why: nothing here changes anything.
#include <algorithm>
#include <cstdio>
#include <optional>
#include <thread>
#include <unistd.h>

#include "failover/command/command.h"
#include "failover/daemon/config.h"
#include "failover/daemon/console_client.h"
#include "failover/daemon/doctor.h"
#include "failover/daemon/explain.h"
#include "failover/daemon/json.h"
#include "failover/daemon/status.h"

namespace understudy::command {

namespace {

constexpr Duration kVerifyDeadline = std::chrono::hours{1};        // 80 MiB a second at epochs of 25 ms
constexpr Duration kPreflightDeadline = std::chrono::seconds{25};  // an etcd is asked member by member

int show_status(const Invocation& invocation) {
  std::string text;
  const auto asked =
      ask_daemon(invocation.socket, schema::OperatorRequest::Command::STATUS, kStatusDeadline, [&](schema::OperatorReply::Reader reply) {
        text = invocation.json ? status_as_json(reply.getStatus()) : status_as_text(reply.getStatus());
      });
  if (!asked) return fail(asked.error());
  print(text);
  std::fflush(stdout);
  return kDone;
}

int show_epochs(const Invocation& invocation, std::uint64_t from, unsigned last) {
  OperatorCall call{schema::OperatorRequest::Command::EPOCHS};
  call.from = from;
  int code = kDone;
  const auto asked = ask_daemon(invocation.socket, call, kStatusDeadline, [&](schema::OperatorReply::Reader reply) {
    if (!reply.getOk()) {
      code = fail(Error{ErrorCode::kRefused, reply.getSentence().cStr()});
      return;
    }
    const auto epochs = reply.getEpochs();
    for (unsigned i = epochs.size() - std::min(last, epochs.size()); i < epochs.size(); ++i)
      print(invocation.json ? as_json(schema::EpochLine::Reader{epochs[i]}, JsonForm::kOneLine) : epoch_as_text(epochs[i]));
  });
  return asked ? code : fail(asked.error());
}

int watch_status(const Invocation& invocation) {
  const bool terminal = ::isatty(STDOUT_FILENO) != 0;
  while (true) {
    if (terminal) print("\033[H\033[2J");
    if (const int code = show_status(invocation); code != kDone) return code;
    std::this_thread::sleep_for(std::chrono::seconds{1});
  }
}

int show_preflight(const Invocation& invocation) {
  int code = kUnknown;
  const auto asked = ask_daemon(invocation.socket, schema::OperatorRequest::Command::PREFLIGHT, kPreflightDeadline,
                                [&](schema::OperatorReply::Reader reply) {
                                  if (!reply.hasPreflight()) return print(std::string{reply.getSentence().cStr()} + "\n");
                                  const auto preflight = reply.getPreflight();
                                  print(invocation.json ? preflight_as_json(preflight) : preflight_as_text(preflight));
                                  const std::string_view answer = preflight.getAnswer().cStr();
                                  code = answer == "yes" ? kDone : answer == "no" ? kRefused : kUnknown;
                                });
  return asked ? code : fail(asked.error());
}

int verify(const Invocation& invocation) {
  int code = kUnknown;
  const auto asked =
      ask_daemon(invocation.socket, schema::OperatorRequest::Command::VERIFY, kVerifyDeadline, [&](schema::OperatorReply::Reader reply) {
        code = reply.getOk() ? kDone : kRefused;
        if (invocation.json && reply.hasVerification()) return print(verification_as_json(reply.getVerification()));
        if (reply.getOk()) return print(std::string{reply.getSentence().cStr()} + "\n");
        fail(Error{ErrorCode::kRefused, reply.getSentence().cStr()});
      });
  return asked ? code : fail(asked.error());
}

int attach(const Invocation& invocation) {
  const auto stop = take_stop_signals();
  if (!stop) return fail(stop.error());
  std::fprintf(stderr, "console of the guest; leave it with Ctrl-]\n");
  const auto ended = [&] {
    const RawTerminal raw{STDIN_FILENO};
    return attach_console(invocation.socket, {.in = STDIN_FILENO, .out = STDOUT_FILENO, .stop = stop->get()});
  }();
  std::fputc('\n', stderr);
  return ended ? kDone : fail(ended.error());
}

// What `events` and `explain` were told.
struct FlightOptions {
  std::string state;
  bool follow = false;
  std::size_t last = 50;
  bool replay = false;
};

// The living daemon's flight recorder, or, with `state`, a dead one's.
Result<std::unique_ptr<FlightSource>> flight_source(const Invocation& invocation, const FlightOptions& options) {
  if (options.state.empty()) return flight_of_daemon(invocation.socket);
  return flight_of_files(options.state);
}

int show_events(const Invocation& invocation, const FlightOptions& options) {
  auto source = flight_source(invocation, options);
  if (!source) return fail(source.error());
  auto events = all_events(**source);
  if (!events) return fail(events.error());
  const auto show = [&](std::span<const FlightEvent> some) {
    for (const FlightEvent& event : some) print(invocation.json ? event_as_json(event) : event_as_text(event));
    std::fflush(stdout);
  };
  show(std::span{*events}.last(std::min(options.last, events->size())));
  std::uint64_t next = events->empty() ? 0 : events->back().serial + 1;
  while (options.follow) {
    std::this_thread::sleep_for(std::chrono::milliseconds{500});
    const auto more = (*source)->events(next);
    if (!more) return fail(more.error());
    show(*more);
    if (!more->empty()) next = more->back().serial + 1;
  }
  return kDone;
}

int show_explanation(const Invocation& invocation, const FlightOptions& options) {
  auto source = flight_source(invocation, options);
  if (!source) return fail(source.error());
  const auto events = all_events(**source);
  if (!events) return fail(events.error());
  if (!options.state.empty()) {
    print(invocation.json ? explain_as_json(std::nullopt, *events) : explain(std::nullopt, *events));
    return kDone;
  }
  const auto asked =
      ask_daemon(invocation.socket, schema::OperatorRequest::Command::STATUS, kStatusDeadline, [&](schema::OperatorReply::Reader reply) {
        print(invocation.json ? explain_as_json(reply.getStatus(), *events) : explain(reply.getStatus(), *events));
      });
  return asked ? kDone : fail(asked.error());
}

int show_replay(const Invocation& invocation, const FlightOptions& options) {
  auto source = flight_source(invocation, options);
  if (!source) return fail(source.error());
  const auto summary = replay_all(**source);
  if (!summary) return fail(summary.error());
  print(invocation.json ? replay_as_json(*summary) : replay_as_text(*summary));
  return summary->differences.empty() ? kDone : kRefused;
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
  return count(Grade::kBad) == 0 ? kDone : kRefused;
}

}  // namespace

void add_looking(CLI::App& app, Invocation& invocation) {
  CLI::App* const status = add_command(app, "status", "what this node does, why, and how well: role, term, epochs, gate, probes, timeline",
                                       "understudy status --watch");
  add_json(status, invocation);
  const auto watch = std::make_shared<bool>(false);
  status->add_flag("--watch", *watch, "again every second, until interrupted");
  status->callback([&invocation, watch] {
    invocation.run = [&invocation, watch] { return *watch ? watch_status(invocation) : show_status(invocation); };
  });

  CLI::App* const epochs =
      add_command(app, "epochs", "where the guest runs: the latest committed epochs, oldest first: pause, dirty pages, bytes, ack, gate",
                  "understudy epochs --last 20");
  add_json(epochs, invocation);
  const auto from = std::make_shared<std::uint64_t>(0);
  const auto last_epochs = std::make_shared<unsigned>(50);
  epochs->add_option("--from", *from, "none of a lower number");
  epochs->add_option("--last", *last_epochs, "so many of the latest; the node keeps 1024")->capture_default_str();
  epochs->callback([&invocation, from, last_epochs] {
    invocation.run = [&invocation, from, last_epochs] { return show_epochs(invocation, *from, *last_epochs); };
  });

  CLI::App* const preflight = add_command(
      app, "preflight",
      "would a takeover work now: what is missing, what would be lost, how long it would take; on either host, and best on both. Exit "
      "status 0: yes, 1: no, 2: it can't be told here",
      "understudy preflight && reboot");
  add_json(preflight, invocation);
  preflight->callback([&invocation] { invocation.run = [&invocation] { return show_preflight(invocation); }; });

  CLI::App* const verified = add_command(
      app, "verify",
      "where the guest runs: compares all of its memory and its machine's state with the other node's image, while it runs; what "
      "is not the same is sent again. `status` tells how far it is. Exit status 0: the same, 1: not, or not compared",
      "understudy verify --json");
  add_json(verified, invocation);
  verified->callback([&invocation] { invocation.run = [&invocation] { return verify(invocation); }; });

  const auto options = std::make_shared<FlightOptions>();
  CLI::App* const explained =
      add_command(app, "explain", "why this node is in its state: what led to its latest change of roles, and what was refused since",
                  "understudy explain --state /var/lib/understudy/web/state");
  explained->add_flag("--replay", options->replay,
                      "run all that is recorded through the decisions again, and tell whether they come out the same");
  explained->callback([&invocation, options] {
    invocation.run = [&invocation, options] {
      return options->replay ? show_replay(invocation, *options) : show_explanation(invocation, *options);
    };
  });
  CLI::App* const events = add_command(app, "events", "what this node saw and did, oldest first", "understudy events --last 20 --follow");
  events->add_option("--last", options->last, "so many of the latest")->capture_default_str();
  events->add_flag("--follow", options->follow, "and then each new one, until interrupted");
  events->callback([&invocation, options] { invocation.run = [&invocation, options] { return show_events(invocation, *options); }; });
  for (CLI::App* const command : {events, explained}) {
    add_json(command, invocation);
    command->add_option("--state", options->state, "of a daemon that does not run: its [state] dir")->check(CLI::ExistingDirectory);
  }

  const auto config_file = std::make_shared<std::string>();
  CLI::App* const doctor = add_command(
      app, "doctor",
      "looks this host over for what its node needs, before or while it runs, and says what to mend; exit status 1 when something is bad",
      "understudy doctor --config /etc/understudy/web.toml");
  doctor->add_option("--config", *config_file, "the node's TOML file")->required();
  add_json(doctor, invocation);
  doctor->callback(
      [&invocation, config_file] { invocation.run = [&invocation, config_file] { return examine(*config_file, invocation.json); }; });

  CLI::App* const console =
      add_command(app, "console", "where the guest runs: its serial console on this terminal; Ctrl-] leaves it", "understudy console");
  console->callback([&invocation] { invocation.run = [&invocation] { return attach(invocation); }; });
}

}  // namespace understudy::command
