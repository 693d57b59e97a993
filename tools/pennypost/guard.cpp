// pennypost guard clear: what the daemons remember of failed log-ins lies in a file that the tool changes as they do.

#include "common/auth/guard_table.hpp"
#include "tools/pennypost/program.hpp"

namespace tools {
namespace {

void clear(Session& session) {
  const auto& run = session.config().suite.run;
  auto table = common::auth::GuardTable::open(run.directory / "guard", run.user);
  if (!table) fail(table.error());
  table->forget_all();
  session.report()(true, "cleared", "guard", "failures", "all failed log-ins are forgotten");
}

}  // namespace

void add_guard_commands(CLI::App& root, Program& program) {
  auto* group = add_group(root, "guard", "Log-ins that failed");
  add_command(*group, "clear", "Forgets all failed log-ins: nobody is slowed or refused for them any more", program,
              [&session = program.session] { clear(session); });
}

}  // namespace tools
