// `understudyd arbiter`: an operator's words to the pair's arbiter, whichever it is. Blocking; each returns a sentence for a person.
#pragma once

#include <string>

#include "failover/arbiter.h"
#include "failover/daemon/config.h"
#include "net/base/clock.h"
#include "net/base/result.h"

namespace understudy {

// Whether the files that the arbiter needs can be used. Asks nobody.
Result<void> check_arbiter(const DaemonConfig& config);
// Of etcd: that it may grant from now on. kRefused: see EtcdStore::set_up(). kInvalid for a witness, which is set up where it runs.
Result<std::string> set_up_arbiter(const DaemonConfig& config, EtcdSetUp how, const Clock& clock);
// kRefused with the arbiter's reason: see decide_seed().
Result<std::string> seed_arbiter(const DaemonConfig& config, Term term, NodeIncarnation holder, const Clock& clock);
// The record as it stands.
Result<std::string> show_arbiter(const DaemonConfig& config, const Clock& clock);

}  // namespace understudy
