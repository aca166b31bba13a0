// Another process at a store. A program of its own, not a fork of the test: a forked copy of a process with threads may start none, and
// RocksDB does.
//   unit_store_process PATH die   writes records, then dies by SIGKILL with nothing flushed or closed
//   unit_store_process PATH hold  opens the store, says `y` (`n` if it could not) on its standard output, and waits to be killed
#include <csignal>
#include <string_view>
#include <unistd.h>

#include "replication/rocksdb_store.h"

using namespace understudy;

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string_view task = argv[2];
  const PairId pair{42};
  const auto store = RocksDbStore::open(argv[1], pair, NodeId::kB);
  if (task == "hold") {
    (void)!::write(STDOUT_FILENO, store ? "y" : "n", 1);
    ::pause();
    return 0;
  }
  if (task != "die" || !store) return 1;
  const bool put = (*store)->put_identity({.pair = pair, .node = NodeId::kB, .incarnation = Incarnation{1}}) &&
                   (*store)->put_promise(Term{9}) && (*store)->put_committed({Term{8}, Epoch{1}});
  if (put) ::kill(::getpid(), SIGKILL);
  return 1;
}
