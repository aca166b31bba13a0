#include "failover/witness_codec.h"

#include <algorithm>
#include <string>

#include "failover/witness.capnp.h"
#include "net/payload.h"

namespace understudy {

namespace {
constexpr std::size_t kMaxReasonBytes = 512;

Error corrupt(const std::string& text) { return Error{ErrorCode::kCorrupt, text}; }

void write(schema::WitnessNode::Builder out, const NodeIncarnation& node) {
  out.setNode(static_cast<std::uint8_t>(node.node));
  out.setIncarnation(node.incarnation.raw());
}

Result<NodeIncarnation> read(schema::WitnessNode::Reader in) {
  if (in.getNode() > 1) return corrupt("node " + std::to_string(in.getNode()) + ": a pair has 0 and 1");
  return NodeIncarnation{static_cast<NodeId>(in.getNode()), Incarnation{in.getIncarnation()}};
}

void write(schema::WitnessRecord::Builder out, const ArbiterRecord& record) {
  out.setTerm(record.term.raw());
  out.setMode(record.mode == PairMode::kSolo ? 1 : 0);
  write(out.initHolder(), record.holder);
  auto eligible = out.initEligible(static_cast<unsigned>(record.eligible.size()));
  for (unsigned i = 0; i < eligible.size(); ++i) write(eligible[i], record.eligible[i]);
  out.setRequest(record.request.raw());
}

Result<ArbiterRecord> read(schema::WitnessRecord::Reader in) {
  if (in.getMode() > 1) return corrupt("mode " + std::to_string(in.getMode()) + ": 0 is pair, 1 is solo");
  ArbiterRecord record{.term = Term{in.getTerm()},
                       .mode = in.getMode() == 1 ? PairMode::kSolo : PairMode::kPair,
                       .holder = {},
                       .eligible = {},
                       .request = RequestId{in.getRequest()}};
  US_ASSIGN(record.holder, read(in.getHolder()));
  const auto eligible = in.getEligible();
  if (eligible.size() > 2) return corrupt(std::to_string(eligible.size()) + " eligible nodes: a pair has two");
  for (const auto node : eligible) {
    US_ASSIGN(const auto who, read(node));
    record.eligible.push_back(who);
  }
  if (!valid(record)) return corrupt("the record of term " + std::to_string(record.term.raw()) + " contradicts itself");
  return record;
}

void write(schema::WitnessProposal::Builder out, const Proposal& proposal) {
  out.setKind(static_cast<std::uint8_t>(proposal.kind));
  out.setRequest(proposal.request.raw());
  out.setExpectedTerm(proposal.expected_term.raw());
  out.setAtLeast(proposal.at_least.raw());
  write(out.initProposer(), proposal.proposer);
  if (proposal.peer) write(out.initPeer(), *proposal.peer);
}

Result<Proposal> read(schema::WitnessProposal::Reader in) {
  if (in.getKind() > static_cast<std::uint8_t>(ProposalKind::kRenew)) return corrupt("proposal of kind " + std::to_string(in.getKind()));
  Proposal proposal{.kind = static_cast<ProposalKind>(in.getKind()),
                    .request = RequestId{in.getRequest()},
                    .expected_term = Term{in.getExpectedTerm()},
                    .at_least = Term{in.getAtLeast()},
                    .proposer = {},
                    .peer = {}};
  US_ASSIGN(proposal.proposer, read(in.getProposer()));
  if (in.hasPeer()) {
    US_ASSIGN(proposal.peer, read(in.getPeer()));
  }
  return proposal;
}
}  // namespace

std::vector<std::byte> encode_witness_request(const WitnessRequest& request) {
  return build_payload<schema::WitnessRequest>([&](schema::WitnessRequest::Builder out) {
    out.setCall(request.call);
    if (const auto* proposal = std::get_if<Proposal>(&request.what)) {
      write(out.initPropose(), *proposal);
    } else if (const auto* seed = std::get_if<WitnessSeed>(&request.what)) {
      auto to = out.initSeed();
      to.setTerm(seed->term.raw());
      write(to.initHolder(), seed->holder);
    } else {
      out.setRead();
    }
  });
}

Result<WitnessRequest> decode_witness_request(std::span<const std::byte> payload) {
  return read_payload<schema::WitnessRequest>(payload, [](schema::WitnessRequest::Reader in) -> Result<WitnessRequest> {
    WitnessRequest request{.call = in.getCall(), .what = WitnessRead{}};
    switch (in.which()) {
      case schema::WitnessRequest::READ:
        return request;
      case schema::WitnessRequest::PROPOSE: {
        US_ASSIGN(request.what, read(in.getPropose()));
        return request;
      }
      case schema::WitnessRequest::SEED: {
        WitnessSeed seed{.term = Term{in.getSeed().getTerm()}, .holder = {}};
        US_ASSIGN(seed.holder, read(in.getSeed().getHolder()));
        request.what = seed;
        return request;
      }
    }
    return corrupt("request of kind " + std::to_string(static_cast<unsigned>(in.which())));
  });
}

std::vector<std::byte> encode_witness_reply(const WitnessReply& reply) {
  return build_payload<schema::WitnessAnswer>([&](schema::WitnessAnswer::Builder out) {
    out.setCall(reply.call);
    if (!reply.answer) {
      out.setFailed(true);
      out.setReason(reply.answer.error().text().substr(0, kMaxReasonBytes));
      return;
    }
    out.setGranted(reply.answer->granted);
    if (reply.answer->record) write(out.initRecord(), *reply.answer->record);
    out.setStore(reply.answer->store.raw());
    out.setReason(reply.answer->reason.substr(0, kMaxReasonBytes));
  });
}

Result<WitnessReply> decode_witness_reply(std::span<const std::byte> payload) {
  return read_payload<schema::WitnessAnswer>(payload, [](schema::WitnessAnswer::Reader in) -> Result<WitnessReply> {
    std::string reason{in.getReason().cStr(), std::min<std::size_t>(in.getReason().size(), kMaxReasonBytes)};
    // It goes to logs and terminals.
    std::ranges::replace_if(
        reason, [](char c) { return c >= 0 && c < 0x20; }, ' ');
    if (in.getFailed()) return WitnessReply{.call = in.getCall(), .answer = Error{ErrorCode::kFailed, std::move(reason)}};
    ArbiterAnswer answer{.granted = in.getGranted(), .record = {}, .store = StoreId{in.getStore()}, .reason = std::move(reason)};
    if (in.hasRecord()) {
      US_ASSIGN(answer.record, read(in.getRecord()));
    }
    if (answer.granted && !answer.record) return corrupt("a grant without its record");
    return WitnessReply{.call = in.getCall(), .answer = std::move(answer)};
  });
}

std::vector<std::byte> encode_witness_identity(const WitnessIdentity& identity) {
  return build_payload<schema::StoredWitness>([&](schema::StoredWitness::Builder out) {
    out.setStore(identity.store.raw());
    out.setAmnesiac(identity.amnesiac);
  });
}

Result<WitnessIdentity> decode_witness_identity(std::span<const std::byte> payload) {
  return read_payload<schema::StoredWitness>(payload, [](schema::StoredWitness::Reader in) {
    return WitnessIdentity{.store = StoreId{in.getStore()}, .amnesiac = in.getAmnesiac()};
  });
}

std::vector<std::byte> encode_witness_pair(const WitnessPair& pair) {
  return build_payload<schema::StoredWitnessPair>([&](schema::StoredWitnessPair::Builder out) {
    if (pair.record) write(out.initRecord(), *pair.record);
    if (pair.made_by) write(out.initMadeBy(), *pair.made_by);
    out.setForgotten(pair.forgotten.raw());
  });
}

Result<WitnessPair> decode_witness_pair(std::span<const std::byte> payload) {
  return read_payload<schema::StoredWitnessPair>(payload, [](schema::StoredWitnessPair::Reader in) -> Result<WitnessPair> {
    WitnessPair pair{.record = {}, .made_by = {}, .forgotten = Term{in.getForgotten()}};
    if (in.hasRecord()) {
      US_ASSIGN(pair.record, read(in.getRecord()));
    }
    if (in.hasMadeBy()) {
      US_ASSIGN(pair.made_by, read(in.getMadeBy()));
    }
    return pair;
  });
}

}  // namespace understudy
