#include "failover/child_process.h"

#include <csignal>
#include <spawn.h>
#include <unistd.h>
#include <utility>

#include <sys/wait.h>

namespace understudy {

Result<pid_t> start_child(const std::string& operation, const std::vector<std::string>& command, ChildStreams streams, ChildGroup group) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  for (const auto& [ours, its] :
       {std::pair{streams.in, STDIN_FILENO}, std::pair{streams.out, STDOUT_FILENO}, std::pair{streams.error, STDERR_FILENO}})
    if (ours >= 0) ::posix_spawn_file_actions_adddup2(&actions, ours, its);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(&attributes,
                             static_cast<short>(POSIX_SPAWN_SETSIGMASK | (group == ChildGroup::kOwn ? POSIX_SPAWN_SETPGROUP : 0)));
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  pid_t child = -1;
  const int error = ::posix_spawn(&child, arguments[0], &actions, &attributes, arguments.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return Error::from_errno(operation, error);
  return child;
}

void end_child(pid_t child, ChildGroup group) {
  ::kill(group == ChildGroup::kOwn ? -child : child, SIGKILL);
  for (int tries = 0; tries < 20 && ::waitpid(child, nullptr, WNOHANG) == 0; ++tries) ::usleep(1000);
}

}  // namespace understudy
