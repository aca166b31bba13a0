// `understudy`: the operator's command. It asks the local understudyd and shows the answer.
#include "failover/command/command.h"

int main(int argc, char** argv) {
  CLI::App app{"", "understudy"};
  understudy::command::Invocation invocation;
  understudy::command::describe(app, invocation);
  CLI11_PARSE(app, argc, argv);
  return invocation.run();
}
