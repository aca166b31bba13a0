#include "tests/lab/lab_keys.h"

#include <fmt/format.h>

namespace understudy::lab {

Result<void> LabKeys::write(const std::filesystem::path& folder) const {
  US_TRY(save_secret_key(folder / "host-a.key", host_a_));
  US_TRY(save_secret_key(folder / "host-b.key", host_b_));
  return save_secret_key(folder / "witness.key", witness_);
}

std::string LabKeys::configuration(const std::filesystem::path& folder, NodeId node, bool has_witness) const {
  std::string text = fmt::format("[security]\nkey = \"{}\"\npeer_key = \"{}\"\n",
                                 (folder / fmt::format("host-{}.key", name_of(node))).string(), of(peer_of(node)).public_key().text());
  if (has_witness) text += fmt::format("witness_key = \"{}\"\n", witness_.public_key().text());
  return text + '\n';
}

}  // namespace understudy::lab
