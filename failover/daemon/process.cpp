#include "failover/daemon/process.h"

#include <pthread.h>
#include <signal.h>
#include <thread>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/resource.h>

namespace understudy {

namespace {
sigset_t stop_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGINT);
  ::sigaddset(&set, SIGTERM);
  return set;
}
}  // namespace

void prepare_signals() {
  const sigset_t set = stop_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

int wait_for_stop_signal() {
  const sigset_t set = stop_signals();
  int signal_number = 0;
  while (::sigwait(&set, &signal_number) != 0) {
  }
  return signal_number;
}

Result<void> lock_memory() {
  const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
  // Fails without CAP_SYS_RESOURCE; the limit in force may still be high enough.
  static_cast<void>(::setrlimit(RLIMIT_MEMLOCK, &unlimited));
  if (::mlockall(MCL_CURRENT) < 0 || ::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
    return Error::from_errno("lock the daemon's memory (a takeover may then wait for a failed disk; raise LimitMEMLOCK)");
  return {};
}

void exit_after(Duration grace, int exit_code) {
  std::thread{[grace, exit_code] {
    std::this_thread::sleep_for(grace);
    ::_exit(exit_code);
  }}.detach();
}

}  // namespace understudy
