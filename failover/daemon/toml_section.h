// One table of a TOML file, read key by key with its demands; what was not asked for is an error, so that a misspelt key never passes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <toml++/toml.h>

#include "net/base/result.h"

namespace understudy {

class TomlSection {
 public:
  // `title` as a person finds it in the file: "[timing]". The table must outlive the section.
  TomlSection(std::string_view file, std::string title, const toml::table& table) : file_{file}, title_{std::move(title)}, table_{table} {}

  Result<std::string> required_text(std::string_view key);
  Result<std::optional<std::string>> optional_text(std::string_view key);
  // A list of 1 to `most` strings that are not empty.
  Result<std::vector<std::string>> required_texts(std::string_view key, std::size_t most);
  // The same; empty when absent. One string may stand without the list.
  Result<std::vector<std::string>> optional_texts(std::string_view key, std::size_t most);
  // [[title.key]] tables, in order; none when absent.
  Result<std::vector<TomlSection>> tables(std::string_view key);
  // In [low, high]; nullopt when absent.
  Result<std::optional<std::int64_t>> whole_number(std::string_view key, std::int64_t low, std::int64_t high);
  Result<std::int64_t> required_whole_number(std::string_view key, std::int64_t low, std::int64_t high);
  Result<bool> flag(std::string_view key, bool otherwise);

  // After the last key was read: kInvalid names the first key nobody asked for.
  Result<void> nothing_else() const;

  // An error at the key's line (the section's own when the key is absent).
  Error at(std::string_view key, std::string_view problem) const;

 private:
  const toml::node* find(std::string_view key);

  std::string file_;
  std::string title_;
  const toml::table& table_;
  std::vector<std::string> asked_;
};

}  // namespace understudy
