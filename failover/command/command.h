// What the groups of `understudy`'s commands share: the answer of a daemon as words, JSON and an exit status.
//
// Threading: none; one process, one command. Each runs in the foreground and may block for as long as its deadline.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include <CLI/CLI.hpp>

#include "failover/daemon/operator_socket.h"
#include "net/base/clock.h"
#include "net/base/result.h"

namespace understudy::command {

// Of the process, for scripts. (A command line that is wrong exits with CLI11's own, 100 and above.)
enum Exit : int {
  kDone = 0,     // it was done; the question's answer is yes
  kRefused = 1,  // it was refused or failed, and the reason was said; the question's answer is no
  kUnknown = 2,  // nobody answered, or not in time: what was asked may still come to be; the question can't be answered
};

inline constexpr Duration kStatusDeadline = std::chrono::seconds{5};
inline constexpr Duration kCommandDeadline = std::chrono::seconds{60};  // a switchover waits for an epoch, a grant and a restore

// One call of the program: what its options say, and what is to be done.
struct Invocation {
  std::string socket = "/run/understudy/understudy.sock";
  bool json = false;
  std::function<int()> run;  // of the command that was given
};

void print(const std::string& text);
// Says what is wrong. kUnknown for an error that leaves it open.
int fail(const Error& error);
// Who runs this command, for the daemon's log and the other operators: the user, also behind sudo.
std::string who_asks();
// Asks, and says the answer: a sentence, or with --json an object (operator.capnp: Said).
int ask_and_say(const Invocation& invocation, OperatorCall call);

// A command with an example, that `understudy --socket ... NAME` and `understudy NAME --socket ...` both reach.
CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& what, const std::string& example);
void add_json(CLI::App* command, Invocation& invocation);

// The groups. `invocation` outlives the app.
void add_looking(CLI::App& app, Invocation& invocation);   // status, explain, events, doctor, console
void add_steering(CLI::App& app, Invocation& invocation);  // what changes who runs the guest, and how
void add_guest(CLI::App& app, Invocation& invocation);     // what is asked of the guest itself
void add_keys(CLI::App& app, Invocation& invocation);      // this host's key, and the other host's
void add_completion(CLI::App& app, Invocation& invocation);

// All of them.
void describe(CLI::App& app, Invocation& invocation);
// A script for bash that completes commands, options and their values, as the app describes them.
std::string bash_completion(const CLI::App& app);

}  // namespace understudy::command
