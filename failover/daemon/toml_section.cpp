#include "failover/daemon/toml_section.h"

#include <algorithm>

#include <fmt/format.h>

namespace understudy {

namespace {

std::string_view kind_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a decimal number";
    case toml::node_type::boolean:
      return "true or false";
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list";
    default:
      return "a date or time";
  }
}

}  // namespace

const toml::node* TomlSection::find(std::string_view key) {
  asked_.emplace_back(key);
  return table_.get(key);
}

Error TomlSection::at(std::string_view key, std::string_view problem) const {
  const toml::node* const node = table_.get(key);
  const auto line = node != nullptr ? node->source().begin.line : table_.source().begin.line;
  return Error{ErrorCode::kInvalid, fmt::format("{}:{}: {} {}: {}", file_, line, title_, key, problem)};
}

Result<std::optional<std::string>> TomlSection::optional_text(std::string_view key) {
  const toml::node* const node = find(key);
  if (node == nullptr) return std::optional<std::string>{};
  if (!node->is_string()) return at(key, fmt::format("expected a string, found {}", kind_of(*node)));
  return std::optional{node->as_string()->get()};
}

Result<std::string> TomlSection::required_text(std::string_view key) {
  US_ASSIGN(auto text, optional_text(key));
  if (!text) return at(key, "expected a string, found nothing");
  if (text->empty()) return at(key, "expected a string that is not empty");
  return std::move(*text);
}

Result<std::vector<std::string>> TomlSection::required_texts(std::string_view key, std::size_t most) {
  const toml::node* const node = find(key);
  const auto expected = fmt::format("expected a list of 1 to {} strings", most);
  if (node == nullptr) return at(key, expected + ", found nothing");
  const toml::array* const list = node->as_array();
  if (list == nullptr) return at(key, fmt::format("{}, found {}", expected, kind_of(*node)));
  if (list->empty() || list->size() > most) return at(key, fmt::format("{}, found {} of them", expected, list->size()));
  std::vector<std::string> texts;
  for (const auto& element : *list) {
    if (!element.is_string()) return at(key, fmt::format("{}, found {} in it", expected, kind_of(element)));
    texts.push_back(element.as_string()->get());
  }
  return texts;
}

Result<std::vector<std::string>> TomlSection::optional_texts(std::string_view key, std::size_t most) {
  const toml::node* const node = find(key);
  if (node == nullptr) return std::vector<std::string>{};
  if (node->is_string()) return std::vector{node->as_string()->get()};
  return required_texts(key, most);
}

Result<std::vector<TomlSection>> TomlSection::tables(std::string_view key) {
  std::vector<TomlSection> sections;
  const toml::node* const node = find(key);
  if (node == nullptr) return sections;
  const toml::array* const array = node->as_array();
  if (array == nullptr || !array->is_homogeneous(toml::node_type::table)) return at(key, "expected [[...]] tables");
  const std::string inner =
      title_.starts_with('[') ? fmt::format("[[{}.{}]]", title_.substr(1, title_.size() - 2), key) : fmt::format("[[{}]]", key);
  for (const auto& element : *array) sections.emplace_back(file_, inner, *element.as_table());
  return sections;
}

Result<std::optional<std::int64_t>> TomlSection::whole_number(std::string_view key, std::int64_t low, std::int64_t high) {
  const toml::node* const node = find(key);
  if (node == nullptr) return std::optional<std::int64_t>{};
  const auto expected = fmt::format("expected a whole number from {} to {}", low, high);
  if (!node->is_integer()) return at(key, fmt::format("{}, found {}", expected, kind_of(*node)));
  const std::int64_t value = node->as_integer()->get();
  if (value < low || value > high) return at(key, fmt::format("{}, found {}", expected, value));
  return std::optional{value};
}

Result<std::int64_t> TomlSection::required_whole_number(std::string_view key, std::int64_t low, std::int64_t high) {
  US_ASSIGN(const auto value, whole_number(key, low, high));
  if (!value) return at(key, fmt::format("expected a whole number from {} to {}, found nothing", low, high));
  return *value;
}

Result<bool> TomlSection::flag(std::string_view key, bool otherwise) {
  const toml::node* const node = find(key);
  if (node == nullptr) return otherwise;
  if (!node->is_boolean()) return at(key, fmt::format("expected true or false, found {}", kind_of(*node)));
  return node->as_boolean()->get();
}

Result<void> TomlSection::nothing_else() const {
  for (const auto& [key, node] : table_) {
    if (std::ranges::find(asked_, key.str()) == asked_.end())
      return at(key.str(), fmt::format("unknown key; expected one of: {}", fmt::join(asked_, ", ")));
  }
  return {};
}

}  // namespace understudy
