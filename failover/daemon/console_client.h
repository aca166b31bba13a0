// `understudy console`: the guest's serial console on this terminal, over the daemon's operator socket.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <termios.h>

#include "net/base/result.h"
#include "net/base/unique_fd.h"

namespace understudy {

inline constexpr char kConsoleDetachKey = 0x1D;  // Ctrl-], as telnet's

// A terminal in raw mode, so that every key reaches the guest; as it was again when destroyed. Of something that is no terminal: nothing.
class RawTerminal {
 public:
  explicit RawTerminal(int fd);
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  const int fd_;
  std::optional<termios> before_;
};

// Readable once this process is asked to end (SIGINT, SIGTERM, SIGHUP, SIGQUIT), which from now on no more ends it by itself. Call before
// any thread is started.
Result<UniqueFd> take_stop_signals();

struct ConsoleTerminal {
  int in;
  int out;
  int stop;  // readable: leave
};
enum class ConsoleEnd : std::uint8_t { kDetached, kStopped };

// Shows the guest's output, first what the daemon kept of it, and sends what is typed, until the detach key or `stop`; the end of the
// input leaves the output going. kRefused, with the daemon's sentence, where the guest does not run here (any more); kUnavailable and
// kTimeout as ask_daemon(). Blocks.
Result<ConsoleEnd> attach_console(const std::filesystem::path& socket, ConsoleTerminal terminal);

}  // namespace understudy
