#include "failover/petition.h"

namespace understudy {

PetitionOutcome judge_petition(const Proposal& proposal, const ArbiterAnswer& answer, bool proposed) {
  if (answer.record) {
    if (answer.record->request == proposal.request) return PetitionOutcome::kGranted;
    if (answer.record->term > proposal.expected_term) return PetitionOutcome::kLost;
  }
  // The arbiter judged this very proposal and said no; while the record stands still it would say no again.
  return proposed && !answer.granted ? PetitionOutcome::kLost : PetitionOutcome::kOpen;
}

RequestId make_request_id(Incarnation incarnation, std::uint64_t count) {
  // splitmix64's finisher: one to one for a given incarnation, and without pattern between incarnations.
  std::uint64_t z = incarnation.raw() + 0x9e3779b97f4a7c15ULL * (count + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  z ^= z >> 31;
  return RequestId{z == 0 ? 1 : z};
}

}  // namespace understudy
