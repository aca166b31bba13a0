// A store that takes everything and keeps nothing, for tests of what only writes to it.
#pragma once

#include <optional>
#include <string>

#include "replication/epoch_store.h"

namespace understudy::fake {

class ForgetfulStore final : public EpochStore {
 public:
  Result<void> put_identity(const NodeIdentity&) override { return {}; }
  Result<void> put_term(Term) override { return {}; }
  Result<void> put_promise(Term) override { return {}; }
  Result<void> put_end(const std::string&) override { return {}; }
  Result<void> put_orders(std::span<const std::byte>) override { return {}; }
  Result<void> put_spoiled(CommittedEpoch) override { return {}; }
  Result<void> put_holding(Term) override { return {}; }
  Result<void> put_committed(CommittedEpoch) override { return {}; }
  Result<std::optional<NodeIdentity>> identity() const override { return std::optional<NodeIdentity>{}; }
  Result<Term> term() const override { return Term{}; }
  Result<Term> promise() const override { return Term{}; }
  Result<CommittedEpoch> committed() const override { return CommittedEpoch{}; }
  Result<CommittedEpoch> spoiled() const override { return CommittedEpoch{}; }
  Result<std::string> end() const override { return std::string{}; }
  Result<std::vector<std::byte>> orders() const override { return std::vector<std::byte>{}; }
};

}  // namespace understudy::fake
