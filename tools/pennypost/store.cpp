// pennypost store: the place where all mail lies.

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
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

/// How far a long job is, on a terminal.
class Progress {
 public:
  void operator()(std::uint64_t records) const {
    if (terminal_) std::fprintf(stderr, "\r%llu records read", static_cast<unsigned long long>(records));
  }
  void end() const {
    if (terminal_) std::fputs("\r\033[K", stderr);
  }

 private:
  bool terminal_ = isatty(STDERR_FILENO) == 1;
};

std::string store_path(Session& session) {
  return session.config().suite.store.path.string();
}

void repair(Session& session) {
  const Progress progress;
  auto& store = session.store([](mailstore::Options& options) { options.alone = options.past_damage = true; });
  auto mended = store.repair([&](std::uint64_t records) { progress(records); });
  progress.end();
  const auto report = need(std::move(mended), "the store could not be repaired");
  const auto left = need(store.check(), "the store was repaired and could not be checked");
  if (session.format() == Format::json) {
    Record out(Format::json);
    out.field("store", "", store_path(session));
    out.field("sound", "", left.problems.empty());
    out.field("repaired", "", report.problems);
    out.field("problems", "", left.problems);
    out.print();
  } else {
    for (const auto& done : report.problems) print(shown(done) + "\n");
    print(shown(fmt::format("store {}: {} set right", store_path(session), counted(report.problems.size(), "thing"))) +
          "\n");
    for (const auto& problem : left.problems) print(shown(problem) + "\n");
  }
  if (!left.problems.empty()) {
    fail(fmt::format("the store {} still has {}; keep a copy of it, then try 'pennypost store rebuild'",
                     store_path(session), counted(left.problems.size(), "problem")));
  }
}

void rebuild(Session& session) {
  const auto options = session.store_options();
  become_owner_of(options.path, session.config().suite.run.user);
  umask(077);
  const Progress progress;
  auto rebuilt = mailstore::Store::rebuild(options, [&](std::uint64_t records) { progress(records); });
  progress.end();
  const auto report = need(std::move(rebuilt), "the index was not rebuilt");
  if (session.format() == Format::json) {
    Record out(Format::json);
    out.field("store", "", store_path(session));
    out.field("domains", "", report.domains);
    out.field("mailboxes", "", report.mailboxes);
    out.field("messages", "", report.messages);
    out.field("entries", "", report.entries);
    out.field("queued", "", report.queued);
    out.field("old_index", "", report.old_index);
    out.field("problems", "", report.problems);
    out.print();
    return;
  }
  for (const auto& problem : report.problems) print(shown(problem) + "\n");
  print(shown(fmt::format("store {}: index rebuilt with {}, {} and {}; messages removed in the last second before a "
                          "crash may be back",
                          store_path(session), counted(report.domains, "domain"), counted(report.mailboxes, "mailbox"),
                          counted(report.messages, "message"))) +
        "\n");
  if (report.queued > 0) {
    print(
        fmt::format("{} in the queue, which is held: look for what has left already, then run 'pennypost queue resume "
                    "--all'\n",
                    counted(report.queued, "recipient")));
  }
  if (!report.old_index.empty())
    print(shown(fmt::format("the old index is kept at {}; remove it once all is well", report.old_index)) + "\n");
}

void compact(Session& session, bool all) {
  const auto report =
      need(session.store().compact({.all = all, .at_once = false, .stop = {}}), "the store was not compacted");
  const auto after = need(session.store().stat(), "the store could not be read");
  if (session.format() == Format::json) {
    Record out(Format::json);
    out.field("store", "", store_path(session));
    out.field("segments", "", report.segments);
    out.field("moved", "", report.moved);
    out.field("moved_octets", "", Octets{report.moved_octets});
    out.field("freed_octets", "", Octets{report.read_octets - std::min(report.read_octets, report.moved_octets)});
    out.field("problems", "", report.problems);
    out.print();
  } else {
    for (const auto& problem : report.problems) print(shown(problem) + "\n");
    print(shown(fmt::format("store {}: {} gone through, {} moved; {} octets in segments, {} of them in use",
                            store_path(session), counted(report.segments, "segment"), counted(report.moved, "message"),
                            after.segment_octets, after.live_octets)) +
          "\n");
  }
  if (!report.problems.empty())
    fail(fmt::format("{} were left where they are", counted(report.problems.size(), "damaged message")));
}

void check(Session& session) {
  const Progress progress;
  auto& store = session.store([](mailstore::Options& options) { options.past_damage = true; });
  auto checked = store.check([&](std::uint64_t records) { progress(records); });
  progress.end();
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
    fail(fmt::format(
        "the store {} has {}; keep a copy of it before anything else, look at the disk and the log, then stop the "
        "daemons and run 'pennypost store check --repair'",
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
  out.field("queued", "In the queue", stat.queued);
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
  auto mend = std::make_shared<bool>(false);
  auto* look = add_command(*group, "check", "Reads the whole store and compares everything with everything", program,
                           [&session, mend] { *mend ? repair(session) : check(session); });
  look->add_flag("--repair", *mend, "Sets right what does not agree; the daemons have to be stopped");
  add_command(*group, "rebuild", "Makes the index anew from segments and journal; the daemons have to be stopped",
              program, [&session] { rebuild(session); });
  auto all = std::make_shared<bool>(false);
  auto* squeeze = add_command(*group, "compact", "Gives the room of removed messages back to the disk", program,
                              [&session, all] { compact(session, *all); });
  squeeze->add_flag("--all", *all, "Every segment with removed messages, not only those that are half of them");
  add_command(*group, "stat", "Shows what the store holds and how much room it takes", program,
              [&session] { stat(session); });
}

}  // namespace tools
