// What changes who runs the guest, and who may: each is decided by the daemon, which refuses what is unsafe and says what to do instead.
#include <map>
#include <memory>

#include "failover/command/command.h"

namespace understudy::command {

namespace {

using Asked = schema::OperatorRequest::Command;

// A command that says no more than its name.
CLI::App* add_plain(CLI::App& app, Invocation& invocation, const std::string& name, Asked asked, const std::string& what) {
  CLI::App* const command = add_command(app, name, what, "understudy " + name);
  add_json(command, invocation);
  command->callback([&invocation, asked] { invocation.run = [&invocation, asked] { return ask_and_say(invocation, asked); }; });
  return command;
}

// One that is given a reason for other people to read.
CLI::App* add_reasoned(CLI::App& app, Invocation& invocation, const std::string& name, Asked asked, const std::string& what,
                       const std::string& example, const std::shared_ptr<std::uint64_t>& seconds = nullptr) {
  CLI::App* const command = add_command(app, name, what, example);
  add_json(command, invocation);
  const auto reason = std::make_shared<std::string>();
  command->add_option("--reason", *reason, "why, for whoever looks at the status")
      ->check([](const std::string& text) { return text.size() > kMaxOperatorWords ? "at most 200 bytes" : ""; }, "TEXT");
  command->callback([&invocation, asked, reason, seconds] {
    invocation.run = [&invocation, asked, reason, seconds] {
      OperatorCall call{asked};
      call.reason = *reason;
      if (seconds && *seconds != 0) call.length = std::chrono::seconds{*seconds};
      return ask_and_say(invocation, std::move(call));
    };
  });
  return command;
}

constexpr const char* kAssertion =
    "nobody but you knows whether the other node runs the guest. With `understudy grant --i-assert` you assert that\n"
    "  - it does not run the guest, and will not: its host is off, or its daemon is stopped or says `secondary` or `fenced`;\n"
    "  - it has not run the guest alone since this node was last protected (its `status` would have said solo).\n"
    "If that is wrong, both hosts run the guest, and what one of them answered is lost when they meet again";

int refuse_replacement(const std::string& host) {
  return fail(Error{ErrorCode::kRefused,
                    "replace-secondary refused: where the other node is stands in this daemon's configuration ([replication] and "
                    "[heartbeat] peer), which it reads when it starts, and a restart here would end the guest. Instead: `understudy "
                    "unprotect` here; shut the old host down; give " +
                        host +
                        " the old host's addresses on the replication and heartbeat networks, its configuration (the same node name), the "
                        "kernel, and a disk image of the same size; start understudyd there; `understudy protect` here. It joins with "
                        "nothing and is sent everything while the guest runs"});
}

}  // namespace

void add_steering(CLI::App& app, Invocation& invocation) {
  add_plain(app, invocation, "switchover", Asked::SWITCHOVER,
            "on the primary: hand the guest to the other host after a last epoch; its pause is about one epoch");
  add_plain(
      app, invocation, "takeover", Asked::TAKEOVER,
      "on the secondary: take the guest over now, the other host being sick or gone; refused, with the reason, when this node may not");
  add_plain(app, invocation, "failback", Asked::FAILBACK,
            "on the primary: a switchover to the guest's home ([pair] home); refused when it is there");

  const auto seconds = std::make_shared<std::uint64_t>(0);
  CLI::App* const hold = add_reasoned(
      app, invocation, "hold", Asked::HOLD,
      "on either host: maintenance. Neither node moves the guest by itself, whatever fails, also after a daemon's restart; it still "
      "replicates and answers, and an operator may move it. Exit status 1 when the other node did not hear of it",
      "understudy hold --for 30m --reason 'new kernel on host-b'", seconds);
  const std::map<std::string, std::uint64_t> units{{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86'400}};
  hold->add_option("--for", *seconds, "ends by itself after so long: 90s, 30m, 2h, 1d; without, only by `release`")
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::UNIT_REQUIRED, "TIME"))
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{366} * 86'400));
  add_plain(app, invocation, "release", Asked::RELEASE, "on either host: ends a hold");

  add_plain(app, invocation, "unprotect", Asked::UNPROTECT,
            "where the guest runs: go on alone, by grant, and take no peer until `protect`; the guest is NOT PROTECTED then");
  add_plain(app, invocation, "protect", Asked::PROTECT, "where the guest runs: take the other node again, after `unprotect`");
  add_reasoned(
      app, invocation, "fence", Asked::FENCE,
      "this node must not run the guest nor hold its image, also after a restart; a primary hands the guest over first, and is not "
      "fenced when it can't",
      "understudy fence --reason 'memory errors in the log'");
  add_plain(app, invocation, "unfence", Asked::UNFENCE, "ends a fence: this node joins the pair again, with nothing");

  const auto asserted = std::make_shared<bool>(false);
  CLI::App* const grant = add_command(app, "grant",
                                      "for a pair without an arbiter ([manual]): what this node waits for is granted, on your word alone. "
                                      "A secondary takes over; a primary that "
                                      "holds its output goes on alone. Without --i-assert it only says what your word is",
                                      "understudy grant --i-assert");
  add_json(grant, invocation);
  grant->add_flag("--i-assert", *asserted, "it is so");
  grant->callback([&invocation, asserted] {
    invocation.run = [&invocation, asserted] {
      return *asserted ? ask_and_say(invocation, Asked::GRANT) : fail(Error{ErrorCode::kRefused, kAssertion});
    };
  });

  const auto host = std::make_shared<std::string>();
  CLI::App* const replace = add_command(app, "replace-secondary",
                                        "another host in the secondary's place. Refused, with what to do instead: it takes the old one's "
                                        "addresses",
                                        "understudy replace-secondary host-c");
  replace->add_option("HOST", *host, "the new one")->required();
  replace->callback([&invocation, host] { invocation.run = [host] { return refuse_replacement(*host); }; });
}

void add_guest(CLI::App& app, Invocation& invocation) {
  add_plain(app, invocation, "start", Asked::START,
            "start a guest again that ended by itself: on the node that held it, or on the secondary when that one is gone");
  add_plain(
      app, invocation, "power-button", Asked::POWER_BUTTON,
      "where the guest runs: press its power button (ACPI), so that it shuts itself down in order. It is then over on both hosts, and "
      "`start` starts it again. A guest that does not listen goes on");
  const auto mib = std::make_shared<std::optional<std::uint64_t>>();
  CLI::App* const balloon = add_command(app, "balloon", "where the guest runs: how much memory it was asked to give back, and gave back",
                                        "understudy balloon 256");
  balloon->add_option("MIB", *mib, "ask it to give back so much, in MiB; 0: take all of it again")->check(CLI::Range(0, 1 << 20));
  add_json(balloon, invocation);
  balloon->callback([&invocation, mib] {
    invocation.run = [&invocation, mib] {
      OperatorCall call{Asked::BALLOON};
      call.balloon_mib = *mib;
      return ask_and_say(invocation, std::move(call));
    };
  });
}

}  // namespace understudy::command
