// One request to the arbiter that stays open until the record settles it.
//
// A reply can be lost and a proposal can arrive late, so "no answer" means nothing: the proposal may still be granted for as long as the
// record stands at the term it was made on. It is repeated under the same request id until the record shows what became of it.
#pragma once

#include <optional>

#include "failover/arbiter.h"

namespace understudy {

enum class PetitionOutcome : std::uint8_t {
  kOpen,     // nothing known yet
  kGranted,  // the record was made by this request
  kLost,     // it never can be granted any more, or was granted and superseded: the record as it stands counts
};

// `proposed`: the answer is one to the proposal itself, not to a read.
PetitionOutcome judge_petition(const Proposal& proposal, const ArbiterAnswer& answer, bool proposed);

// A request id that no other request of any node bears: from the incarnation (random) and a count.
RequestId make_request_id(Incarnation incarnation, std::uint64_t count);

}  // namespace understudy
