// The rules for the kernel's log, as a file may say them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "failover/daemon/probe_config.h"

namespace understudy {
namespace {

TEST(KernelLogRules, TheExampleIsWhatIsBuiltIn) {
  const auto example = load_kernel_log_rules(UNDERSTUDY_SOURCE "/deploy/config/kernel-log.toml");
  ASSERT_TRUE(example) << example.error().text();
  const auto built_in = default_kernel_log_rules();
  ASSERT_EQ(example->size(), built_in.size());
  for (std::size_t i = 0; i < built_in.size(); ++i) {
    EXPECT_EQ((*example)[i].pattern, built_in[i].pattern);
    EXPECT_EQ((*example)[i].failed, built_in[i].failed) << built_in[i].pattern;
    EXPECT_EQ((*example)[i].path, built_in[i].path) << built_in[i].pattern;
    EXPECT_EQ((*example)[i].counts_for, built_in[i].counts_for) << built_in[i].pattern;
  }
}

TEST(KernelLogRules, MistakesAreNamed) {
  const struct {
    const char* text;
    const char* says;
  } cases[] = {
      {"[[rule]]\npattern = \"a(b\"\nseverity = \"failed\"", "r.toml:2: [[rule]] pattern: \"a(b\" is no extended regular expression"},
      {"[[rule]]\npattern = \"a\"\nseverity = \"bad\"", "r.toml:3: [[rule]] severity: expected \"failed\" or \"degraded\", found \"bad\""},
      {"[[rule]]\nseverity = \"failed\"", "[[rule]] pattern: expected a string, found nothing"},
      {"[[rule]]\npattern = \"a\"\nseverity = \"failed\"\ncount = 1", "[[rule]] count: unknown key"},
      {"rules = 1", "rules: unknown key; expected one of: rule"},
      {"[[rule]", "r.toml:1: not TOML"},
  };
  for (const auto& one : cases) {
    const auto rules = parse_kernel_log_rules(one.text, "r.toml");
    ASSERT_FALSE(rules) << one.text;
    EXPECT_THAT(rules.error().text(), testing::HasSubstr(one.says));
  }
}

}  // namespace
}  // namespace understudy
