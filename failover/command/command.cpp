#include "failover/command/command.h"

#include <cstdio>
#include <cstdlib>
#include <pwd.h>
#include <unistd.h>

#include <capnp/message.h>

#include "failover/daemon/json.h"

namespace understudy::command {

namespace {

constexpr const char* kAbout =
    "Shows and steers one node of a pair: a virtual machine that runs on one host and is kept ready on another.\n\n"
    "A takeover asks the pair's arbiter for the next term, so two hosts never run the guest; what clients were told is never lost by it.\n"
    "Exit status: 0 done (or yes), 1 refused (or no), 2 nobody answered (or it can't be told); 100 and above: the command line is wrong.\n";

}  // namespace

void print(const std::string& text) { std::fputs(text.c_str(), stdout); }

int fail(const Error& error) {
  std::fprintf(stderr, "understudy: %s\n", error.text().c_str());
  return error.code() == ErrorCode::kUnavailable || error.code() == ErrorCode::kTimeout ? kUnknown : kRefused;
}

std::string who_asks() {
  if (const char* const behind_sudo = std::getenv("SUDO_USER"); behind_sudo != nullptr && *behind_sudo != '\0') return behind_sudo;
  const passwd* const user = ::getpwuid(::getuid());
  return user != nullptr ? user->pw_name : "user " + std::to_string(::getuid());
}

int ask_and_say(const Invocation& invocation, OperatorCall call) {
  call.by = who_asks();
  bool ok = false;
  std::string sentence;
  const auto asked = ask_daemon(invocation.socket, call, kCommandDeadline, [&](schema::OperatorReply::Reader reply) {
    ok = reply.getOk();
    sentence = reply.getSentence().cStr();
  });
  if (!asked) return fail(asked.error());
  if (invocation.json) {
    capnp::MallocMessageBuilder message;
    auto said = message.initRoot<schema::Said>();
    said.setOk(ok);
    said.setSentence(sentence);
    print(as_json(said.asReader(), JsonForm::kIndented));
    return ok ? kDone : kRefused;
  }
  if (!ok) return fail(Error{ErrorCode::kRefused, sentence});
  print(sentence + "\n");
  return kDone;
}

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& what, const std::string& example) {
  CLI::App* const command = app.add_subcommand(name, what);
  command->footer("\nExample:\n  " + example);
  command->fallthrough();
  return command;
}

void add_json(CLI::App* command, Invocation& invocation) { command->add_flag("--json", invocation.json, "JSON, for scripts"); }

void describe(CLI::App& app, Invocation& invocation) {
  app.description(kAbout);
  app.set_version_flag("--version", std::string{UNDERSTUDY_VERSION});
  app.require_subcommand(1);
  app.add_option("--socket", invocation.socket, "the daemon's socket: [state] socket in its configuration")
      ->envname("UNDERSTUDY_SOCKET")
      ->capture_default_str();
  app.footer("\n`understudy COMMAND --help` says more, with an example.");
  add_looking(app, invocation);
  add_steering(app, invocation);
  add_guest(app, invocation);
  add_keys(app, invocation);
  add_completion(app, invocation);
}

}  // namespace understudy::command
