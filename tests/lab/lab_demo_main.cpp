// `understudy-lab-demo`: one run of the demo inside the lab. deploy/demo is its front door.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tests/lab/demo.h"
#include "tests/lab/kv_guest.h"
#include "tests/lab/linux_guest.h"
#include "tests/lab/report.h"

namespace understudy::lab {
namespace {

constexpr int kGood = 0;
constexpr int kBad = 1;
constexpr int kNotRun = 2;

int fail(const std::string& text) {
  std::fprintf(stderr, "demo: error: %s\n", text.c_str());
  return kNotRun;
}

struct GuestChoice {
  std::string kind = "test";
  std::optional<std::string> words;   // more of them on its command line
  std::filesystem::path linux_files;  // empty: beside the folder of the programs
};

std::unique_ptr<GuestService> make_service(const Clock& clock, const GuestChoice& choice, Fault fault, const LabPair::Options& pair) {
  if (choice.kind == "linux") {
    const auto files = choice.linux_files.empty() ? pair.programs.parent_path() / "linux" : choice.linux_files;
    return std::make_unique<LinuxGuest>(clock,
                                        LinuxGuest::Options{.files = files, .slowness = pair.slowness, .words = choice.words.value_or("")});
  }
  KvGuest::Options options{.programs = pair.programs};
  if (fault == Fault::kRoughTimes) options.pace = std::chrono::milliseconds{20};  // what a fifth of the CPUs can do, for an hour
  if (choice.words) options.guest_options = *choice.words;
  return std::make_unique<KvGuest>(clock, std::move(options));
}

// Empty: not written.
struct OutputFiles {
  std::string json;
  std::string row;
};

Result<void> write(const std::string& path, const std::string& text) {
  if (path.empty()) return {};
  std::ofstream file{path};
  file << text;
  if (!file.flush()) return Error{ErrorCode::kFailed, "could not write to " + path};
  return {};
}

int run(const DemoOptions& options, const GuestChoice& guest, const OutputFiles& files, bool verbose) {
  const MonotonicClock clock;
  Demo demo{clock, options, make_service(clock, guest, options.fault, options.pair), [](const std::string& line) {
              std::printf("demo: %s\n", line.c_str());
              std::fflush(stdout);
            }};
  const auto outcome = demo.run();
  if (verbose) std::fputs(demo.logs(1000).c_str(), stdout);
  if (!outcome) return fail(outcome.error().text());
  const bool good = shortcomings(*outcome).empty();
  if (!good && !verbose) std::fputs(demo.logs(20).c_str(), stdout);
  std::fputs(report_as_text(*outcome).c_str(), stdout);
  if (auto written = write(files.json, report_as_json(*outcome)); !written) return fail(written.error().text());
  const std::string row = detection_as_json(*outcome) + '\n' + detection_heading() + '\n' + detection_as_text(*outcome) + '\n';
  if (auto written = write(files.row, row); !written) return fail(written.error().text());
  return good ? kGood : kBad;
}

int dispatch(int argc, char** argv) {
  CLI::App app{"Runs the demo inside the lab: tests/lab/lab run -- understudy-lab-demo. Easier: deploy/demo.", "understudy-lab-demo"};
  std::string fault_name = "kill";
  std::string arbiter_name = "witness";
  std::string side = "primary";
  OutputFiles files;
  bool list = false;
  bool verbose = false;
  bool brief = false;
  DemoOptions options;
  GuestChoice guest;
  app.add_option("--fault", fault_name, "what is done to a host, or to the guest")->check([](const std::string& name) {
    return fault_of(name) ? std::string{} : fmt::format("one of {}", fmt::join(fault_names(), ", "));
  });
  app.add_option("--side", side, "which host is struck: the one that runs the guest, or the other")
      ->check(CLI::IsMember({"primary", "secondary"}));
  app.add_option("--arbiter", arbiter_name, "who grants terms: the witness, an etcd in its place, or nobody but the operator")
      ->check(CLI::IsMember(arbiter_names()));
  app.add_option("--json", files.json, "also write the report there, as JSON");
  app.add_option("--row", files.row, "also write there what tests/lab/detect shows: a row as JSON, its heading and the row as text");
  app.add_flag("--list", list, "print the faults that are a matter of detection, and do nothing");
  app.add_flag("--verbose", verbose, "also show the daemons' logs");
  unsigned rough_seconds = 60;
  app.add_option("--rough-seconds", rough_seconds, "how long times are rough, with --fault rough-times")->check(CLI::Range(1, 100'000));
  app.add_flag("--short", brief, "less time under load, and a freeze of three seconds: for tests");
  app.add_option("--vcpus", options.pair.vcpus, "of the guest")->check(CLI::Range(1, 8));
  app.add_option("--guest", guest.kind, "the test guest, or Linux with Redis and nginx")->check(CLI::IsMember({"test", "linux"}));
  app.add_option("--guest-options", guest.words, "more words for the guest's command line");
  app.add_option("--linux-files", guest.linux_files, "the folder that tests/guest/linux/build filled; else ../linux beside the programs");
  app.add_option("--slowness", options.pair.slowness, "this machine is so many times slower than usual: every duration is as much longer")
      ->check(CLI::Range(1, 100));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kGood : kNotRun;
  }
  if (list) {
    for (const auto& name : fault_names()) {
      if (detection_of(fault_of(name).value())) std::printf("%s\n", name.c_str());
    }
    return kGood;
  }
  options.fault = fault_of(fault_name).value();
  if (!files.row.empty() && !detection_of(options.fault)) return fail("--row is for faults that are a matter of detection: see --list");
  options.struck = side == "primary" ? NodeId::kA : NodeId::kB;
  if (only_the_primary(options.fault) && options.struck == NodeId::kB)
    return fail("--fault " + fault_name + " is for the host that runs the guest: leave --side secondary out");
  options.pair.arbiter = arbiter_of(arbiter_name).value();
  options.rough = std::chrono::seconds{rough_seconds};
  if (brief) {
    options.before = std::chrono::milliseconds{1500};
    options.after = std::chrono::milliseconds{2500};
    options.freeze = std::chrono::seconds{3};
    options.over = std::chrono::seconds{2};
    options.away = std::chrono::milliseconds{1500};
    options.links_away = std::chrono::milliseconds{6500};  // beyond the 5 s for which what the peer lacks is kept
  }
  if (starts_afresh(options.fault) && guest.kind == "linux")
    return fail("--fault " + fault_name + " is for the test guest, whose clients know one boot from the next: leave --guest linux out");
  const char* const folder = std::getenv("LAB_DIR");
  if (folder == nullptr) return fail("this program runs inside the lab: use deploy/demo, or tests/lab/lab run -- ...");
  options.pair.folder = folder;
  std::error_code ignored;
  options.pair.programs = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  return run(options, guest, files, verbose);
}

}  // namespace
}  // namespace understudy::lab

int main(int argc, char** argv) { return understudy::lab::dispatch(argc, argv); }
