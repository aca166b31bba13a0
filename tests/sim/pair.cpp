#include "tests/sim/run.h"

namespace understudy::sim {

Outcome run(const Options& options) { return Run{options}.go(); }

}  // namespace understudy::sim
