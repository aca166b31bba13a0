// `understudy-lab-demo`: one run of the demo inside the lab. deploy/demo is its front door.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <CLI/CLI.hpp>

#include "tests/lab/demo.h"
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

int run(const DemoOptions& options, const std::string& json_file, bool verbose) {
  const MonotonicClock clock;
  Demo demo{clock, options, [](const std::string& line) {
              std::printf("demo: %s\n", line.c_str());
              std::fflush(stdout);
            }};
  const auto outcome = demo.run();
  if (verbose) std::fputs(demo.logs(1000).c_str(), stdout);
  if (!outcome) return fail(outcome.error().text());
  const bool good = shortcomings(*outcome).empty();
  if (!good && !verbose) std::fputs(demo.logs(20).c_str(), stdout);
  std::fputs(report_as_text(*outcome).c_str(), stdout);
  if (!json_file.empty()) {
    std::ofstream file{json_file};
    file << report_as_json(*outcome);
    if (!file.flush()) return fail("could not write the report to " + json_file);
  }
  return good ? kGood : kBad;
}

int dispatch(int argc, char** argv) {
  CLI::App app{"Runs the demo inside the lab: tests/lab/lab run -- understudy-lab-demo. Easier: deploy/demo.", "understudy-lab-demo"};
  std::string fault_name = "kill";
  std::string json_file;
  bool verbose = false;
  bool brief = false;
  DemoOptions options;
  app.add_option("--fault", fault_name, "what is done to host-a")
      ->check(CLI::IsMember({"kill", "freeze", "nic", "partition", "switchover"}));
  app.add_option("--json", json_file, "also write the report there, as JSON");
  app.add_flag("--verbose", verbose, "also show the daemons' logs");
  app.add_flag("--short", brief, "less time under load, and a freeze of three seconds: for tests");
  app.add_option("--vcpus", options.pair.vcpus, "of the guest")->check(CLI::Range(1, 8));
  app.add_option("--guest-options", options.pair.guest_options, "more words for the guest's command line");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kGood : kNotRun;
  }
  options.fault = fault_of(fault_name).value();
  if (brief) {
    options.before = std::chrono::milliseconds{1500};
    options.after = std::chrono::milliseconds{2500};
    options.freeze = std::chrono::seconds{3};
  }
  const char* const folder = std::getenv("LAB_DIR");
  if (folder == nullptr) return fail("this program runs inside the lab: use deploy/demo, or tests/lab/lab run -- ...");
  options.pair.folder = folder;
  std::error_code ignored;
  options.pair.programs = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  return run(options, json_file, verbose);
}

}  // namespace
}  // namespace understudy::lab

int main(int argc, char** argv) { return understudy::lab::dispatch(argc, argv); }
