// The keys of the lab's machines: links are secured there as anywhere.
#pragma once

#include <filesystem>
#include <string>

#include "net/base/ids.h"
#include "net/base/result.h"
#include "net/curve_key.h"

namespace understudy::lab {

class LabKeys {
 public:
  // Writes "<machine>.key" for both hosts and the witness into `folder`.
  Result<void> write(const std::filesystem::path& folder) const;
  // The table of a node's configuration; with a witness, its key is pinned, too.
  std::string configuration(const std::filesystem::path& folder, NodeId node, bool has_witness) const;

  const CurveSecretKey& of(NodeId node) const { return node == NodeId::kA ? host_a_ : host_b_; }
  const CurveSecretKey& witness() const { return witness_; }

 private:
  const CurveSecretKey host_a_ = CurveSecretKey::generate();
  const CurveSecretKey host_b_ = CurveSecretKey::generate();
  const CurveSecretKey witness_ = CurveSecretKey::generate();
};

}  // namespace understudy::lab
