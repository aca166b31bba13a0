#include "tests/benchmarks/colo_pair.h"

#include <charconv>
#include <csignal>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>

#include <fmt/format.h>

#include "tests/benchmarks/qmp.h"
#include "tests/benchmarks/vmm_command.h"
#include "tests/lab/child.h"

namespace understudy::bench {

namespace {

constexpr const char* kMigrate = R"({{"uri": "{}"}})";
constexpr Duration kLook = std::chrono::microseconds{50};

struct Vm {
  std::unique_ptr<lab::Child> process;
  std::unique_ptr<Qmp> qmp;
};

// `incoming`: empty for a boot.
Result<Vm> start_vm(const Clock& clock, const ColoOptions& options, const std::string& name, const std::string& incoming) {
  const auto file = [&](const char* suffix) { return (options.folder / (name + suffix)).string(); };
  std::error_code ignored;
  for (const char* const suffix : {".qmp", ".log", ".trace"}) std::filesystem::remove(file(suffix), ignored);
  const std::string words = options.kernel_words.empty() ? "" : " " + options.kernel_words;
  std::vector<std::string> command = microvm_command(options.qemu, options.vcpus, options.memory_mib);
  command.insert(command.end(), {
                                    "-kernel",
                                    options.kernel,
                                    "-initrd",
                                    options.initrd,
                                    "-append",
                                    "console=ttyS0 quiet acpi=off reboot=p panic=-1 load=1" + words,
                                    "-chardev",
                                    "file,id=console,path=" + file(".console"),
                                    "-serial",
                                    "chardev:console",
                                    "-qmp",
                                    "unix:" + file(".qmp") + ",server=on,wait=off",
                                    "-trace",
                                    "runstate_set",
                                    "-msg",
                                    "timestamp=on",
                                    "-D",
                                    file(".trace"),
                                });
  if (!incoming.empty()) command.insert(command.end(), {"-incoming", incoming});
  Vm vm;
  US_ASSIGN(vm.process,
            lab::Child::start({.name = "qemu " + name, .network_namespace = "", .command = std::move(command), .log = file(".log")}));
  auto qmp = Qmp::connect(clock, file(".qmp"), options.deadline);
  if (!qmp) return std::move(qmp.error()).within(fmt::format("start QEMU, which said '{}'", vm.process->last_log_lines(10)));
  vm.qmp = std::move(*qmp);
  return vm;
}

class ColoPair final : public ProtectedGuest {
 public:
  ColoPair(const Clock& clock, ColoOptions options, Duration interval) : clock_{clock}, options_{std::move(options)}, interval_{interval} {}

  Result<void> start() {
    US_ASSIGN(primary_, start_vm(clock_, options_, "colo-a", "exec:cat " + saved_guest(options_).string()));
    // As it was saved; before, its memory is still being written.
    US_TRY(primary_.qmp->wait_for_status("query-status", "paused"));
    US_TRY(primary_.qmp->ask("cont"));
    US_ASSIGN(load_, LoadView::find(clock_, primary_.process->pid(), options_.memory_mib, options_.deadline));
    US_ASSIGN(secondary_, start_vm(clock_, options_, "colo-b", "defer"));
    return {};
  }

  LoadView& load() override { return *load_; }

  Result<void> unprotect() override { return {}; }

  Result<void> protect() override {
    const std::string uri = "unix:" + (options_.folder / "colo.sock").string();
    std::error_code ignored;
    std::filesystem::remove(options_.folder / "colo.sock", ignored);
    for (Vm* const vm : {&secondary_, &primary_})
      US_TRY(vm->qmp->ask("migrate-set-capabilities", R"({"capabilities": [{"capability": "x-colo", "state": true}]})"));
    US_TRY(secondary_.qmp->ask("migrate-incoming", fmt::format(kMigrate, uri)));
    const auto interval_ms = std::chrono::duration_cast<std::chrono::milliseconds>(interval_).count();
    US_TRY(primary_.qmp->ask(
        "migrate-set-parameters",
        fmt::format(R"({{"max-bandwidth": {}, "downtime-limit": 300, "x-checkpoint-delay": {}}})", std::uint64_t{10} << 30, interval_ms)));
    US_TRY(primary_.qmp->ask("migrate", fmt::format(kMigrate, uri)));
    return primary_.qmp->wait_for_status("query-migrate", "colo");
  }

  Result<void> begin_window() override {
    trace_begins_at_ = trace().size();
    return {};
  }

  Result<EpochFigures> end_window() override {
    // Nothing counts a Unix socket's bytes, and QEMU does not tell them in this state.
    return EpochFigures{
        .pauses_us = stops_us(std::string_view{trace()}.substr(trace_begins_at_)), .acks_us = {}, .link_bytes = std::nullopt};
  }

  Result<double> kill_to_run_ms() override {
    US_ASSIGN(const auto other, LoadView::open(secondary_.process->pid(), options_.memory_mib, load_->at_byte()));
    primary_.process->signal(SIGKILL);
    const Instant killed = clock_.now();
    US_TRY(secondary_.qmp->ask("x-colo-lost-heartbeat"));
    US_TRY(secondary_.qmp->wait_for_event("COLO_EXIT"));
    const auto before = other->read(clock_).writes;
    const Instant give_up_at = killed + options_.deadline;
    while (other->read(clock_).writes == before) {
      if (clock_.now() >= give_up_at) return Error{ErrorCode::kTimeout, "COLO's secondary did not run after the primary's death"};
      std::this_thread::sleep_for(kLook);
    }
    return to_ms(clock_.now() - killed);
  }

 private:
  std::string trace() const {
    std::ifstream file{options_.folder / "colo-a.trace"};
    return {std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
  }

  const Clock& clock_;
  const ColoOptions options_;
  const Duration interval_;
  Vm primary_;
  Vm secondary_;
  std::unique_ptr<LoadView> load_;
  std::size_t trace_begins_at_ = 0;
};

}  // namespace

std::filesystem::path saved_guest(const ColoOptions& options) { return options.folder / "colo-guest"; }

Result<void> save_colo_guest(const Clock& clock, const ColoOptions& options) {
  US_ASSIGN(const Vm vm, start_vm(clock, options, "colo-boot", ""));
  US_TRY(LoadView::find(clock, vm.process->pid(), options.memory_mib, options.boot_deadline));
  US_TRY(vm.qmp->ask("stop"));
  US_TRY(vm.qmp->ask("migrate-set-parameters", fmt::format(R"({{"max-bandwidth": {}}})", std::uint64_t{10} << 30)));
  US_TRY(vm.qmp->ask("migrate", fmt::format(kMigrate, "exec:cat > " + saved_guest(options).string())));
  US_TRY(vm.qmp->wait_for_status("query-migrate", "completed"));
  return {};
}

Result<std::unique_ptr<ProtectedGuest>> start_colo(const Clock& clock, const ColoOptions& options, Duration interval) {
  auto pair = std::make_unique<ColoPair>(clock, options, interval);
  US_TRY(pair->start());
  return std::unique_ptr<ProtectedGuest>{std::move(pair)};
}

std::vector<double> stops_us(std::string_view trace) {
  std::vector<double> stops;
  std::optional<double> stopped_at_us;
  while (!trace.empty()) {
    const auto line = trace.substr(0, trace.find('\n'));
    trace.remove_prefix(std::min(line.size() + 1, trace.size()));
    const auto at = line.find('@');
    if (at == std::string_view::npos || line.find(":runstate_set ") == std::string_view::npos) continue;
    double seconds = 0;
    if (std::from_chars(line.data() + at + 1, line.data() + line.size(), seconds).ec != std::errc{}) continue;
    if (line.ends_with("(running)")) {
      if (stopped_at_us) stops.push_back(seconds * 1e6 - *stopped_at_us);
      stopped_at_us.reset();
    } else if (line.find("(running) new_state") != std::string_view::npos) {
      stopped_at_us = seconds * 1e6;
    }
  }
  return stops;
}

}  // namespace understudy::bench
