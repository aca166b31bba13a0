// The mechanical rules of this code base, each a function from a file to what it breaks. Pure; style_test.cpp applies them to the tree.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace understudy::style {

struct File {
  std::string path;  // from the project's root, with '/'
  std::string text;
};

// A sentence each, "path:line: what is wrong".
using Violations = std::vector<std::string>;

Violations check_includes(const File& file);   // .h, .cpp: only what the folder may see (architecture: "Layers")
Violations check_header(const File& file);     // .h: a title comment, then #pragma once
Violations check_title(const File& file);      // programs: a title comment
Violations check_length(const File& file);     // at most 500 lines
Violations check_text(const File& file);       // no unfinished business, tabs, trailing blanks; a newline at the end
Violations check_script(const File& file);     // bash, strict
Violations check_changelog(const File& file);  // Keep a Changelog 1.1

// Folders with sources among `paths` that have no README.md among them. A test folder below tests/unit shares tests/README.md.
Violations check_design_notes(const std::vector<std::string>& paths);
// Entries of the project's root that do not belong there.
Violations check_root(const std::vector<std::string>& names);

}  // namespace understudy::style
