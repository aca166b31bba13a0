#include "failover/daemon/preflight.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "failover/daemon/json.h"

namespace understudy {

namespace {

using Grade = PreflightCheck::Grade;

const char* name_of(Grade grade) {
  switch (grade) {
    case Grade::kGood:
      return "good";
    case Grade::kNoted:
      return "noted";
    case Grade::kUnknown:
      return "unknown";
    case Grade::kBad:
      return "bad";
  }
  return "unknown";
}

const char* name_of(PreflightAnswer answer) {
  switch (answer) {
    case PreflightAnswer::kYes:
      return "yes";
    case PreflightAnswer::kNo:
      return "no";
    case PreflightAnswer::kCannotTell:
      return "unknown";
  }
  return "unknown";
}

class Judge {
 public:
  explicit Judge(const PreflightFacts& facts) : facts_{facts}, node_{facts.node} {}

  Preflight all() {
    switch (node_.role) {
      case Role::kPrimary:
      case Role::kSolo:
        as_holder();
        break;
      case Role::kSecondary:
        as_secondary();
        break;
      case Role::kStarting:
        add(Grade::kUnknown, "this node has just started: " + node_.why, "ask again in a moment, or the other node");
        break;
      case Role::kFenced:
        add(Grade::kBad, "this node is fenced: " + node_.why,
            node_.fenced_by_order.empty() ? "restart its daemon; ask the other node, too"
                                          : "`understudy unfence`; ask the other node, too");
        break;
    }
    about_hold();
    about_arbiter();
    const auto any = [&](Grade grade) { return std::ranges::find(out_.checks, grade, &PreflightCheck::grade) != out_.checks.end(); };
    out_.answer = any(Grade::kBad) ? PreflightAnswer::kNo : any(Grade::kUnknown) ? PreflightAnswer::kCannotTell : PreflightAnswer::kYes;
    return std::move(out_);
  }

 private:
  void add(Grade grade, std::string found, std::string mend = {}) { out_.checks.push_back({grade, std::move(found), std::move(mend)}); }
  std::string peer() const { return std::string{"node "} + understudy::name_of(peer_of(facts_.self)); }

  bool eligible(NodeIncarnation who) const {
    return facts_.record && std::ranges::find(facts_.record->eligible, who) != facts_.record->eligible.end();
  }

  // Nothing that left is ever lost; what is not committed was never seen.
  void say_what_is_lost() {
    out_.lost = "nothing that anyone has seen; the guest goes on from its last committed epoch";
    if (facts_.waiting_frames > 0)
      out_.lost += fmt::format(", and {} frames that wait for their commit are not sent", facts_.waiting_frames);
  }

  void as_holder() {
    out_.by = peer_of(facts_.self);
    out_.detect = facts_.detect;
    if (!node_.ended.empty()) return add(Grade::kBad, "the guest is over: " + node_.ended, "`understudy start` starts it again");
    if (node_.role == Role::kSolo) {
      add(Grade::kBad, "the guest runs here alone: nobody may take over",
          node_.wants_no_peer ? "`understudy protect` takes the other node back"
                              : "start the other node's daemon, and wait for `protected`");
      return;
    }
    if (!node_.peer_heard)
      return add(Grade::kBad, fmt::format("{} is silent for {}", peer(), ms_text(node_.peer_silence)),
                 "look at the other host and the heartbeat link");
    say_what_is_lost();
    add(Grade::kGood, peer() + " is eligible by this node's record");
    if (node_.is_protected && node_.peer_image_whole)
      add(Grade::kGood, fmt::format("{} holds the guest's image, and acked an epoch {} ago", peer(), ms_text(node_.since_commit)));
    else
      add(Grade::kBad, peer() + " does not hold a whole image in a session of now: " + node_.why,
          "wait for `protected`, or see `why` in the status");
    about_verdict(peer(), node_.verdict_on_peer);
    add(Grade::kNoted, "whether the arbiter answers " + peer() + ", and how long a restore takes there, is known there",
        "`understudy preflight` on that host, too");
  }

  void as_secondary() {
    out_.by = facts_.self;
    out_.detect = facts_.detect;
    out_.restore = facts_.restore;
    if (!node_.ended.empty())
      return add(Grade::kBad, "the guest is over, and is not taken over: " + node_.ended, "`understudy start` starts it again");
    say_what_is_lost();
    if (node_.image_whole)
      add(Grade::kGood, fmt::format("the image is whole, at epoch {} of term {}, {} old", node_.committed.epoch.raw(),
                                    node_.committed.term.raw(), ms_text(node_.since_commit)));
    else
      add(Grade::kBad, "this node holds no whole image of the guest: " + node_.why, "wait for `protected` on the other node");
    if (facts_.arbiter_answered && eligible(node_.self))
      add(Grade::kGood, "this node is eligible by the arbiter's record");
    else if (facts_.arbiter_answered)
      add(Grade::kBad, "this node is not eligible by the arbiter's record", "wait for `protected` on the other node");
    else if (!node_.eligible)
      add(Grade::kBad, "this node is not eligible, as far as it knows", "wait for `protected` on the other node");
    about_verdict("this node", node_.verdict_on_self);
    if (!node_.peer_heard) add(Grade::kNoted, peer() + " is silent: the takeover is due");
    if (!facts_.restore) add(Grade::kNoted, "no takeover was measured on this host since its daemon started");
  }

  void about_verdict(const std::string& whose, const Verdict& verdict) {
    const std::string found = whose + " is " + understudy::name_of(verdict.condition) + (verdict.text.empty() ? "" : ": " + verdict.text);
    switch (verdict.condition) {
      case Condition::kHealthy:
        return add(Grade::kGood, found);
      case Condition::kDegraded:
        return add(Grade::kNoted, found);
      default:
        return add(Grade::kBad, found, "see `understudy doctor` there");
    }
  }

  void about_hold() {
    if (facts_.manual)
      add(Grade::kNoted, "nothing happens by itself: this pair has no third place",
          "after a failure: `understudy grant` on the node that is to go on");
    if (!node_.hold.held) return;
    add(Grade::kBad,
        "held by " + node_.hold.by + (node_.hold.reason.empty() ? "" : " (" + node_.hold.reason + ")") + ": nothing moves by itself",
        "`understudy release`; a `takeover` by an operator works all the same");
  }

  void about_arbiter() {
    if (node_.role == Role::kFenced) return;
    if (!facts_.arbiter_answered)
      return add(Grade::kBad, facts_.arbiter + " does not answer" + (facts_.arbiter_trouble.empty() ? "" : ": " + facts_.arbiter_trouble),
                 "no term is granted without it");
    add(Grade::kGood, fmt::format("{} answers, after {:.1f} ms", facts_.arbiter, to_ms(*facts_.arbiter_answered)));
    // It is read, and then asked.
    out_.arbitrate = 2 * *facts_.arbiter_answered;
  }

  const PreflightFacts& facts_;
  const NodeStatus& node_;
  Preflight out_;
};

double ms_or_unknown(std::optional<Duration> duration) { return duration ? to_ms(*duration) : -1; }

std::string in_ms(double ms) { return ms < 0 ? "not known" : fmt::format("{:.0f} ms", ms); }

}  // namespace

Preflight judge_preflight(const PreflightFacts& facts) { return Judge{facts}.all(); }

void write_preflight(const Preflight& preflight, schema::Preflight::Builder out) {
  out.setAnswer(name_of(preflight.answer));
  if (preflight.by) out.setBy(understudy::name_of(*preflight.by));
  out.setLost(preflight.lost);
  out.setDetectMs(ms_or_unknown(preflight.detect));
  out.setArbitrateMs(ms_or_unknown(preflight.arbitrate));
  out.setRestoreMs(ms_or_unknown(preflight.restore));
  auto checks = out.initChecks(static_cast<unsigned>(preflight.checks.size()));
  for (unsigned i = 0; i < checks.size(); ++i) {
    checks[i].setGrade(name_of(preflight.checks[i].grade));
    checks[i].setFound(preflight.checks[i].found);
    checks[i].setMend(preflight.checks[i].mend);
  }
}

std::string preflight_as_text(schema::Preflight::Reader preflight) {
  const std::string_view answer = preflight.getAnswer().cStr();
  const std::string by = preflight.getBy().size() > 0 ? fmt::format(" by node {}", preflight.getBy().cStr()) : "";
  std::string text = answer == "yes"  ? fmt::format("yes: a takeover{} would work now\n", by)
                     : answer == "no" ? fmt::format("NO: a takeover{} would not work now\n", by)
                                      : std::string{"it can't be told here whether a takeover would work now\n"};
  if (preflight.getLost().size() > 0) text += fmt::format("  lost      {}\n", preflight.getLost().cStr());
  text += fmt::format("  takes     {} to detect a silent host, {} to be granted, {} to run\n", in_ms(preflight.getDetectMs()),
                      in_ms(preflight.getArbitrateMs()), in_ms(preflight.getRestoreMs()));
  for (const auto check : preflight.getChecks()) {
    text += fmt::format("  {:<9} {}\n", check.getGrade().cStr(), check.getFound().cStr());
    if (check.getMend().size() > 0) text += fmt::format("            -> {}\n", check.getMend().cStr());
  }
  return text;
}

std::string preflight_as_json(schema::Preflight::Reader preflight) { return as_json(preflight, JsonForm::kIndented); }

}  // namespace understudy
