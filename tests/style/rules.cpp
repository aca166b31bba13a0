#include "tests/style/rules.h"

#include <algorithm>
#include <array>
#include <optional>
#include <regex>
#include <set>

namespace understudy::style {

namespace {

constexpr std::size_t kMaxLines = 500;

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

std::string at(const File& file, std::size_t line, std::string_view wrong) {
  return file.path + ":" + std::to_string(line) + ": " + std::string{wrong};
}

bool in(std::string_view path, std::string_view folder) {
  return path.starts_with(folder) && path.size() > folder.size() && path[folder.size()] == '/';
}

// What the files of a folder may include. The first entry that holds the file counts.
struct Sight {
  std::string_view folder;
  std::vector<std::string_view> folders;  // wholly
  std::vector<std::string_view> headers;  // these alone
};
const std::vector<Sight>& sights() {
  static const std::vector<std::string_view> kSeam{"vmm/backend.h", "vmm/checkpoint_source.h", "vmm/page_set.h"};
  static const std::vector<Sight> kSights{
      {"net/base", {"net/base"}, {}},
      {"net", {"net"}, {}},
      {"vmm", {"vmm", "net/base"}, {}},
      {"checkpoint", {"checkpoint", "net/base"}, kSeam},
      {"replication", {"replication", "checkpoint", "net"}, kSeam},
      {"failover/daemon", {"failover", "replication", "checkpoint", "net", "vmm"}, {}},  // wires the programs together
      {"failover", {"failover", "replication", "net"}, {}},
      {"tests", {"tests", "failover", "replication", "checkpoint", "vmm", "net"}, {}},
  };
  return kSights;
}

bool is_program(std::string_view path) { return path.ends_with("_main.cpp"); }

bool may_include(std::string_view path, std::string_view header) {
  if (in(path, "tests") && header.find('/') == std::string_view::npos) return true;  // a test's own folder
  if (is_program(path)) return !header.starts_with("tests/") || in(path, "tests");
  for (const Sight& sight : sights()) {
    if (!in(path, sight.folder)) continue;
    return std::ranges::any_of(sight.folders, [&](auto folder) { return in(header, folder); }) ||
           std::ranges::find(sight.headers, header) != sight.headers.end();
  }
  return false;
}

// The name between the quotes of an #include line.
std::optional<std::string_view> quoted_include(std::string_view line) {
  constexpr std::string_view kInclude = "#include \"";
  if (!line.starts_with(kInclude)) return std::nullopt;
  line.remove_prefix(kInclude.size());
  return line.substr(0, line.find('"'));
}

}  // namespace

Violations check_includes(const File& file) {
  Violations found;
  const auto lines = lines_of(file.text);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto header = quoted_include(lines[i]);
    if (header && !may_include(file.path, *header))
      found.push_back(at(file, i + 1, "this folder does not see \"" + std::string{*header} + "\""));
  }
  return found;
}

Violations check_header(const File& file) {
  Violations found = check_title(file);
  const auto lines = lines_of(file.text);
  const auto first_code = std::ranges::find_if(lines, [](auto line) { return !line.starts_with("//") && !line.empty(); });
  if (first_code == lines.end() || *first_code != "#pragma once")
    found.push_back(at(file, 1, "expected #pragma once right after the title comment"));
  return found;
}

Violations check_title(const File& file) {
  if (file.text.starts_with("// ")) return {};
  return {at(file, 1, "expected a title comment that names the file's one concept")};
}

Violations check_length(const File& file) {
  const auto count = lines_of(file.text).size();
  if (count <= kMaxLines) return {};
  return {at(file, count, std::to_string(count) + " lines; more than " + std::to_string(kMaxLines) + " are two concepts")};
}

Violations check_text(const File& file) {
  Violations found;
  // Written apart, so that this file keeps its own rule.
  static const std::regex kUnfinished{
      "\\b(TO"
      "DO|FIX"
      "ME|XX"
      "X)\\b"};
  const auto lines = lines_of(file.text);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto line = lines[i];
    if (std::regex_search(line.begin(), line.end(), kUnfinished))
      found.push_back(at(file, i + 1, "unfinished business belongs in an issue"));
    if (line.find('\t') != std::string_view::npos) found.push_back(at(file, i + 1, "a tab"));
    if (line.ends_with(' ') || line.ends_with('\r')) found.push_back(at(file, i + 1, "a blank at the line's end"));
  }
  if (!file.text.empty() && !file.text.ends_with('\n')) found.push_back(at(file, lines.size(), "no newline at the end"));
  return found;
}

Violations check_script(const File& file) {
  Violations found;
  if (!file.text.starts_with("#!/usr/bin/env bash\n# "))
    found.push_back(at(file, 1, "expected \"#!/usr/bin/env bash\" and a title comment"));
  static const std::regex kStrict{"\nset -E?euo pipefail\n"};
  if (!std::regex_search(file.text, kStrict)) found.push_back(at(file, 1, "expected \"set -euo pipefail\""));
  return found;
}

Violations check_changelog(const File& file) {
  Violations found;
  static const std::regex kRelease{R"(## \[(Unreleased|\d+\.\d+\.\d+)\]( - \d{4}-\d{2}-\d{2})?)"};
  static const std::regex kSection{"### (Added|Changed|Deprecated|Removed|Fixed|Security)"};
  const auto lines = lines_of(file.text);
  if (lines.empty() || lines[0] != "# Changelog") found.push_back(at(file, 1, "expected \"# Changelog\""));
  bool in_release = false;
  bool in_section = false;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const std::string line{lines[i]};
    if (line.starts_with("### ")) {
      if (!in_release) found.push_back(at(file, i + 1, "a section before the first release"));
      if (!std::regex_match(line, kSection))
        found.push_back(at(file, i + 1, "expected Added, Changed, Deprecated, Removed, Fixed or Security"));
      in_section = true;
    } else if (line.starts_with("## ")) {
      std::smatch release;
      const bool is_release = std::regex_match(line, release, kRelease);
      // A release has a date; what is not released has none.
      if (!is_release || (release[1] == "Unreleased") == release[2].matched)
        found.push_back(at(file, i + 1, "expected \"## [Unreleased]\" or \"## [1.2.3] - 2025-01-31\""));
      if (!in_release && is_release && release[1] != "Unreleased") found.push_back(at(file, i + 1, "expected [Unreleased] first"));
      in_release = true;
      in_section = false;
    } else if (line.starts_with("- ") && !in_section) {
      found.push_back(at(file, i + 1, "an entry outside a section"));
    }
  }
  if (!in_release) found.push_back(at(file, 1, "expected a \"## [Unreleased]\""));
  return found;
}

Violations check_design_notes(const std::vector<std::string>& paths) {
  const std::set<std::string> all{paths.begin(), paths.end()};
  std::set<std::string> folders;
  for (const auto& path : paths) {
    if (!path.ends_with(".h") && !path.ends_with(".cpp")) continue;
    const auto folder = path.substr(0, path.rfind('/'));
    if (!in(folder, "tests/unit") && !folder.ends_with("/unit")) folders.insert(folder);
  }
  Violations found;
  for (const auto& folder : folders) {
    if (!all.contains(folder + "/README.md")) found.push_back(folder + ": no README.md, the folder's design note");
  }
  return found;
}

Violations check_root(const std::vector<std::string>& names) {
  static const std::set<std::string_view> kKnown{".cache",
                                                 ".ci",
                                                 ".clang-format",
                                                 ".git",
                                                 ".gitignore",
                                                 "CMakeLists.txt",
                                                 "CMakePresets.json",
                                                 "LICENSE",
                                                 "README.md",
                                                 "build",
                                                 "checkpoint",
                                                 "deploy",
                                                 "failover",
                                                 "net",
                                                 "replication",
                                                 "tests",
                                                 "vmm",
                                                 "compile_commands.json"};
  Violations found;
  for (const auto& name : names) {
    if (!kKnown.contains(name)) found.push_back(name + ": does not belong into the project's root");
  }
  return found;
}

}  // namespace understudy::style
