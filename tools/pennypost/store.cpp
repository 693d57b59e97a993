// pennypost store: the place where all mail lies.

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include <fmt/format.h>

#include "tools/pennypost/owner.hpp"
#include "tools/pennypost/program.hpp"

namespace tools {
namespace {

void init(Session& session, bool if_not_exists) {
  const auto options = session.store_options();
  const auto path = options.path.string();
  make_folder_for(options.path, session.config().suite.run.user);
  umask(077);
  const auto made = mailstore::Store::init(options);
  if (made) {
    session.report()(true, "initialized", "store", path, fmt::format("store {} made", path));
    return;
  }
  if (made.error().code != mailstore::Errc::exists)
    fail_with(made.error(), fmt::format("the store {} was not made", path));
  if (!if_not_exists) {
    fail(
        fmt::format("{} holds something already ({}); nothing was changed: see 'pennypost store stat', say "
                    "--if-not-exists, or choose another "
                    "[store] path",
                    path, made.error().detail));
  }
  session.store();  // it is a store, and a sound one, or this says why not
  session.report()(false, "initialized", "store", path, fmt::format("store {} is already there", path));
}

void check(Session& session) {
  const bool terminal = isatty(STDERR_FILENO) == 1;
  const auto progress = [&](std::uint64_t records) {
    if (terminal) std::fprintf(stderr, "\r%llu records read", static_cast<unsigned long long>(records));
  };
  auto checked = session.store().check(progress);
  if (terminal) std::fputs("\r\033[K", stderr);
  const auto report = need(std::move(checked), "the store could not be checked");
  const bool sound = report.problems.empty();
  const auto path = session.config().suite.store.path.string();
  if (session.format() == Format::json) {
    Record out(Format::json);
    out.field("store", "", path);
    out.field("sound", "", sound);
    out.field("records", "", report.records);
    out.field("entries", "", report.entries);
    out.field("mailboxes", "", report.mailboxes);
    out.field("problems", "", report.problems);
    out.print();
  } else {
    for (const auto& problem : report.problems) print(shown(problem) + "\n");
    if (sound) {
      print(shown(fmt::format("store {} is sound: {}, {} in maildrops, {}", path, counted(report.records, "record"),
                              report.entries == 1 ? "1 entry" : fmt::format("{} entries", report.entries),
                              counted(report.mailboxes, "mailbox"))) +
            "\n");
    }
  }
  if (!sound) {
    fail(fmt::format("the store {} has {}; keep a copy of it before anything else, then look at the disk and the log",
                     path, counted(report.problems.size(), "problem")));
  }
}

void stat(Session& session) {
  const auto stat = need(session.store().stat(), "the store could not be read");
  Record out(session.format());
  out.field("path", "Store", session.config().suite.store.path.string());
  out.field("format_version", "Format", stat.format_version);
  out.field("generation", "Generation", stat.generation);
  out.field("domains", "Domains", stat.domains);
  out.field("mailboxes", "Mailboxes", stat.mailboxes);
  out.field("aliases", "Aliases", stat.aliases);
  out.field("messages", "Messages", stat.messages);
  out.field("entries", "In maildrops", stat.entries);
  out.field("segments", "Segments", stat.segments);
  out.field("open_segments", "Open segments", stat.open_segments);
  out.field("segment_octets", "Segments' size", Octets{stat.segment_octets});
  out.field("live_octets", "Of it in use", Octets{stat.live_octets});
  out.field("index_octets", "Index", Octets{stat.index_octets});
  out.field("index_map", "Index, at most", Octets{stat.index_map});
  out.field("free_octets", "Free on disk", Octets{stat.free_octets});
  out.print();
}

}  // namespace

void add_store_commands(CLI::App& root, Program& program) {
  auto* group = add_group(root, "store", "The place where all mail lies");
  auto& session = program.session;
  auto if_not_exists = std::make_shared<bool>(false);
  auto* make = add_command(*group, "init", "Makes an empty store at [store] path", program,
                           [&session, if_not_exists] { init(session, *if_not_exists); });
  make->add_flag("--if-not-exists", *if_not_exists, "Fine if there is one");
  add_command(*group, "check", "Reads the whole store and compares everything with everything", program,
              [&session] { check(session); });
  add_command(*group, "stat", "Shows what the store holds and how much room it takes", program,
              [&session] { stat(session); });
}

}  // namespace tools
