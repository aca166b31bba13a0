// The tree keeps the mechanical rules; and each rule finds what it is there for.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/style/rules.h"

namespace understudy::style {
namespace {

namespace fs = std::filesystem;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

const fs::path kRoot{UNDERSTUDY_SOURCE_DIR};

bool ends_with_any(std::string_view path, std::initializer_list<std::string_view> endings) {
  return std::ranges::any_of(endings, [&](auto ending) { return path.ends_with(ending); });
}
bool is_cpp(std::string_view path) { return ends_with_any(path, {".h", ".cpp"}); }
bool is_text(std::string_view path) {
  return is_cpp(path) || ends_with_any(path, {".S", ".ld", ".md", ".capnp", ".txt", ".cmake", ".toml", ".sh", ".json"});
}

class Tree : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    for (auto entry = fs::recursive_directory_iterator{kRoot}; entry != fs::recursive_directory_iterator{}; ++entry) {
      const auto path = fs::relative(entry->path(), kRoot).generic_string();
      if (path == "build" || path == ".git" || path == ".cache") {
        entry.disable_recursion_pending();
        continue;
      }
      if (!entry->is_regular_file()) continue;
      std::ifstream stream{entry->path(), std::ios::binary};
      std::ostringstream text;
      text << stream.rdbuf();
      files_.push_back({path, text.str()});
    }
    ASSERT_GT(files_.size(), 20U) << "is " << kRoot << " the project?";
  }
  static void TearDownTestSuite() { files_.clear(); }

  static Violations apply(const std::function<Violations(const File&)>& rule, const std::function<bool(const File&)>& concerns) {
    Violations all;
    for (const auto& file : files_) {
      if (!concerns(file)) continue;
      for (auto& violation : rule(file)) all.push_back(std::move(violation));
    }
    return all;
  }

  static inline std::vector<File> files_;
};

bool is_script(const File& file) { return file.text.starts_with("#!"); }

TEST_F(Tree, IncludesGoDownwardOnly) {
  EXPECT_THAT(apply(check_includes, [](const File& file) { return is_cpp(file.path); }), IsEmpty());
}
TEST_F(Tree, EveryHeaderHasATitleAndAGuard) {
  EXPECT_THAT(apply(check_header, [](const File& file) { return file.path.ends_with(".h"); }), IsEmpty());
}
TEST_F(Tree, EveryProgramHasATitle) {
  EXPECT_THAT(apply(check_title, [](const File& file) { return file.path.ends_with("_main.cpp"); }), IsEmpty());
}
TEST_F(Tree, NoFileIsTooLong) {
  EXPECT_THAT(apply(check_length, [](const File& file) { return is_cpp(file.path) || file.path.ends_with(".S") || is_script(file); }),
              IsEmpty());
}
TEST_F(Tree, TextIsFinishedAndClean) {
  EXPECT_THAT(apply(check_text, [](const File& file) { return is_text(file.path) || is_script(file); }), IsEmpty());
}
TEST_F(Tree, ScriptsAreStrictBash) { EXPECT_THAT(apply(check_script, is_script), IsEmpty()); }
TEST_F(Tree, TheChangelogKeepsItsForm) {
  const auto is_changelog = [](const File& file) { return file.path == "deploy/CHANGELOG.md"; };
  EXPECT_TRUE(std::ranges::any_of(files_, is_changelog));
  EXPECT_THAT(apply(check_changelog, is_changelog), IsEmpty());
}
TEST_F(Tree, EveryFolderHasItsDesignNote) {
  std::vector<std::string> paths;
  for (const auto& file : files_) paths.push_back(file.path);
  EXPECT_THAT(check_design_notes(paths), IsEmpty());
}
TEST_F(Tree, TheRootHoldsWhatBelongsThere) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator{kRoot}) names.push_back(entry.path().filename().string());
  EXPECT_THAT(check_root(names), IsEmpty());
}

// --- the rules themselves ----------------------------------------------------------------------------------------------------------------

struct Include {
  const char* path;
  const char* header;
  bool allowed;
};
class IncludeRule : public testing::TestWithParam<Include> {};
TEST_P(IncludeRule, Holds) {
  const File file{GetParam().path, std::string{"// A title.\n#include \""} + GetParam().header + "\"\n"};
  EXPECT_THAT(check_includes(file), SizeIs(GetParam().allowed ? 0 : 1)) << GetParam().path << " " << GetParam().header;
}
INSTANTIATE_TEST_SUITE_P(
    All, IncludeRule,
    testing::Values(Include{"net/base/clock.cpp", "net/base/clock.h", true}, Include{"net/base/clock.cpp", "net/link.h", false},
                    Include{"net/codec.cpp", "net/base/ids.h", true}, Include{"net/codec.cpp", "vmm/backend.h", false},
                    Include{"vmm/devices/net/x.cpp", "net/base/ids.h", true}, Include{"vmm/machine.cpp", "net/tap.h", false},
                    Include{"checkpoint/capture.cpp", "vmm/page_set.h", true}, Include{"checkpoint/capture.cpp", "vmm/machine.h", false},
                    Include{"replication/store.cpp", "vmm/backend.h", true}, Include{"replication/store.cpp", "failover/node.h", false},
                    Include{"failover/node.cpp", "vmm/machine.h", false}, Include{"failover/daemon/daemon.cpp", "vmm/machine.h", true},
                    Include{"failover/understudyd_main.cpp", "vmm/machine.h", true},
                    Include{"failover/understudyd_main.cpp", "tests/guest/kv_protocol.h", false},
                    Include{"tests/lab/demo.cpp", "tests/lab/demo.h", true}, Include{"vmm/machine.cpp", "machine.h", false}));

TEST(Rules, AHeaderNeedsTitleAndGuard) {
  EXPECT_THAT(check_header({"a.h", "// A title.\n#pragma once\n"}), IsEmpty());
  EXPECT_THAT(check_header({"a.h", "#pragma once\n"}), SizeIs(1));
  EXPECT_THAT(check_header({"a.h", "// A title.\n#include <x>\n#pragma once\n"}), SizeIs(1));
}

TEST(Rules, LengthIsBounded) {
  std::string text;
  for (int i = 0; i < 500; ++i) text += "x\n";
  EXPECT_THAT(check_length({"a.cpp", text}), IsEmpty());
  EXPECT_THAT(check_length({"a.cpp", text + "x\n"}), SizeIs(1));
}

TEST(Rules, TextIsFinishedAndClean) {
  EXPECT_THAT(check_text({"a.cpp", "int a;\n"}), IsEmpty());
  EXPECT_THAT(check_text({"a.cpp", std::string{"// TO"} + "DO: later\n"}), SizeIs(1));
  EXPECT_THAT(check_text({"a.cpp", "\tint a;\n"}), SizeIs(1));
  EXPECT_THAT(check_text({"a.cpp", "int a; \n"}), SizeIs(1));
  EXPECT_THAT(check_text({"a.cpp", "int a;"}), SizeIs(1));
}

TEST(Rules, ScriptsAreStrict) {
  EXPECT_THAT(check_script({"a", "#!/usr/bin/env bash\n# A title.\nset -euo pipefail\n"}), IsEmpty());
  EXPECT_THAT(check_script({"a", "#!/usr/bin/env bash\n# A title.\n"}), SizeIs(1));
  EXPECT_THAT(check_script({"a", "#!/bin/sh\n# A title.\nset -euo pipefail\n"}), SizeIs(1));
}

TEST(Rules, AChangelogHasItsForm) {
  const std::string good = "# Changelog\n\n## [Unreleased]\n\n### Added\n- x\n\n## [1.0.0] - 2025-01-31\n\n### Fixed\n- y\n";
  EXPECT_THAT(check_changelog({"c", good}), IsEmpty());
  EXPECT_THAT(check_changelog({"c", "# Changes\n\n## [Unreleased]\n"}), Not(IsEmpty()));
  EXPECT_THAT(check_changelog({"c", "# Changelog\n\n## [1.0.0] - 2025-01-31\n"}), Not(IsEmpty()));
  EXPECT_THAT(check_changelog({"c", "# Changelog\n\n## [Unreleased]\n\n## [1.0.0]\n"}), Not(IsEmpty()));
  EXPECT_THAT(check_changelog({"c", "# Changelog\n\n## [Unreleased]\n\n### New\n- x\n"}), Not(IsEmpty()));
  EXPECT_THAT(check_changelog({"c", "# Changelog\n\n## [Unreleased]\n- x\n"}), Not(IsEmpty()));
}

TEST(Rules, AFolderNeedsItsDesignNote) {
  EXPECT_THAT(check_design_notes({"net/link.h", "net/README.md", "tests/unit/net/link_test.cpp"}), IsEmpty());
  EXPECT_THAT(check_design_notes({"net/link.h", "vmm/README.md"}), SizeIs(1));
}

TEST(Rules, StrangersInTheRootAreFound) {
  EXPECT_THAT(check_root({"net", "README.md", ".git"}), IsEmpty());
  EXPECT_THAT(check_root({"notes.txt"}), SizeIs(1));
}

}  // namespace
}  // namespace understudy::style
