#include "failover/daemon/control_access.h"

#include <array>
#include <charconv>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>

namespace understudy {

std::optional<ControlPeer> parse_control_peer(std::string_view address) {
  std::array<std::uint32_t, 3> numbers{};  // user, group, process: from the end, since a host's name comes first
  for (std::size_t i = numbers.size(); i-- > 0;) {
    const auto colon = address.rfind(':');
    if (colon == std::string_view::npos) return std::nullopt;
    const auto text = address.substr(colon + 1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), numbers[i]);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    address = address.substr(0, colon);
  }
  return ControlPeer{numbers[0], numbers[1]};
}

ControlAccess::ControlAccess() { operators_.users = {0, ::geteuid()}; }

Result<ControlAccess> ControlAccess::resolve(const ControlConfig& config) {
  ControlAccess access;
  for (const auto& name : config.operators) US_TRY(add(name, access.operators_));
  for (const auto& name : config.viewers) US_TRY(add(name, access.viewers_));
  access.admits_others_ = !config.operators.empty() || !config.viewers.empty();
  return access;
}

Result<void> ControlAccess::add(const std::string& name, Names& to) {
  std::vector<char> buffer(1 << 16);
  if (name.starts_with('@')) {
    group entry{};
    group* found = nullptr;
    const int code = ::getgrnam_r(name.c_str() + 1, &entry, buffer.data(), buffer.size(), &found);
    if (code != 0) return Error::from_errno("[control]: look up the group " + name.substr(1), code);
    if (found == nullptr) return Error{ErrorCode::kInvalid, fmt::format("[control]: \"{}\": this host knows no group of that name", name)};
    to.groups.insert(found->gr_gid);
    for (char** member = found->gr_mem; *member != nullptr; ++member) {
      // A member that is no user of this host any more can't connect either.
      std::vector<char> user_buffer(1 << 16);
      passwd user{};
      passwd* known = nullptr;
      if (::getpwnam_r(*member, &user, user_buffer.data(), user_buffer.size(), &known) == 0 && known != nullptr)
        to.users.insert(known->pw_uid);
    }
    return {};
  }
  passwd entry{};
  passwd* found = nullptr;
  const int code = ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (code != 0) return Error::from_errno("[control]: look up the user " + name, code);
  if (found == nullptr)
    return Error{ErrorCode::kInvalid,
                 fmt::format("[control]: \"{}\": this host knows no user of that name (a group is written \"@{}\")", name, name)};
  to.users.insert(found->pw_uid);
  return {};
}

ControlRole ControlAccess::role_of(const ControlPeer& peer) const {
  if (operators_.contain(peer)) return ControlRole::kOperator;
  return viewers_.contain(peer) ? ControlRole::kViewer : ControlRole::kNobody;
}

bool ControlAccess::admits_others() const { return admits_others_; }

ControlRole role_for(schema::OperatorRequest::Command command) {
  using Command = schema::OperatorRequest::Command;
  const bool only_reads =
      command == Command::STATUS || command == Command::EPOCHS || command == Command::EVENTS || command == Command::PREFLIGHT;
  return only_reads ? ControlRole::kViewer : ControlRole::kOperator;
}

}  // namespace understudy
