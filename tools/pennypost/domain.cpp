// pennypost domain: the domains whose mail is ours.

#include <memory>

#include <fmt/format.h>

#include "tools/pennypost/await.hpp"
#include "tools/pennypost/names.hpp"
#include "tools/pennypost/pages.hpp"
#include "tools/pennypost/program.hpp"

namespace tools {
namespace {

std::string_view kind_name(mailstore::DomainKind kind) {
  using enum mailstore::DomainKind;
  switch (kind) {
    case local:
      return "local";
    case alias:
      return "alias";
    case remote:
      return "remote";
    case drop:
      return "drop";
  }
  return "unknown";
}

struct AddArguments {
  std::string name;
  std::string alias_of;
  bool remote = false;
  bool drop = false;
  bool if_not_exists = false;
};

/// Nothing to do for a name that is there, in the same form; nullopt: it is not there.
bool is_already_there(mailstore::DirectoryView& view, const std::string& name, const AddArguments& given,
                      const std::string& alias_of) {
  const auto there = need(view.domain(name), fmt::format("domain {} could not be read", name));
  if (!there) return false;
  const auto wanted = alias_of.empty() ? mailstore::DomainKind::local : mailstore::DomainKind::alias;
  if (there->kind != wanted || there->alias_of != alias_of) {
    fail(fmt::format(
        "domain {} is already here as {}{}{}; remove it first with 'pennypost domain remove {}'", name,
        there->kind == mailstore::DomainKind::alias ? "an alias of " : "a domain of kind ",
        there->kind == mailstore::DomainKind::alias ? there->alias_of : std::string(kind_name(there->kind)), "", name));
  }
  if (!given.if_not_exists) {
    fail(fmt::format("domain {} is already here; see 'pennypost domain show {}', or say --if-not-exists", name, name));
  }
  return true;
}

void add(Session& session, const AddArguments& given) {
  if (given.remote) refuse("--remote: not supported yet; mail is taken for local domains and their aliases only");
  if (given.drop) refuse("--drop: not supported yet; mail is taken for local domains and their aliases only");
  const auto name = parse_given_domain(given.name);
  mailstore::Domain domain;
  domain.name = name;
  if (!given.alias_of.empty()) {
    domain.kind = mailstore::DomainKind::alias;
    domain.alias_of = parse_given_domain(given.alias_of);
    if (domain.alias_of == name)
      refuse(fmt::format("--alias-of {}: a domain cannot be its own alias; name another", name));
  }
  {
    const auto view = session.directory();
    if (is_already_there(*view, name, given, domain.alias_of)) {
      session.report()(false, "added", "domain", name, fmt::format("domain {} is already here", name));
      return;
    }
    if (!domain.alias_of.empty()) need_local_domain(*view, domain.alias_of);
  }
  const auto alias_of = domain.alias_of;
  need(run_awaitable(session.store().add_domain(std::move(domain))), fmt::format("domain {} was not added", name));
  // RFC 5321 4.5.1: postmaster is always reached. The first domain brings the mailbox for it.
  const auto postmaster = "postmaster@" + name;
  const bool first =
      need(session.directory()->mailbox(postmaster), fmt::format("{} could not be read", postmaster)).has_value();
  std::string more;
  if (!alias_of.empty()) {
    more = ", an alias of " + alias_of;
  } else if (first) {
    more = fmt::format(" with mailbox {} (no password yet: 'pennypost mailbox passwd {}')", postmaster, postmaster);
  }
  session.report()(true, "added", "domain", name, fmt::format("domain {} added{}", name, more));
}

std::uint64_t count_mailboxes(mailstore::DirectoryView& view, const std::string& domain) {
  std::uint64_t count = 0;
  const auto one_more = [&](const mailstore::Mailbox&) {
    ++count;
    return true;
  };
  need(view.each_mailbox(domain, one_more), "the mailboxes could not be read");
  return count;
}

/// Before anything is purged: a domain that others lean on stays whole.
void check_no_aliases_of(mailstore::DirectoryView& view, const std::string& name) {
  std::string leaning;
  const auto look = [&](const mailstore::Domain& domain) {
    if (domain.alias_of == name) leaning = domain.name;
    return leaning.empty();
  };
  need(view.each_domain(look), "the domains could not be read");
  if (leaning.empty()) return;
  fail(fmt::format(
      "domain {} was not removed: {} is an alias of it; remove that first with 'pennypost domain remove {}'", name,
      leaning, leaning));
}

struct RemoveArguments {
  std::string name;
  bool purge = false;
  bool if_exists = false;
};

void remove(Session& session, const RemoveArguments& given) {
  const auto name = parse_given_domain(given.name);
  std::uint64_t mailboxes = 0;
  {
    const auto view = session.directory();
    if (given.if_exists && !need(view->domain(name), fmt::format("domain {} could not be read", name))) {
      session.report()(false, "removed", "domain", name, fmt::format("domain {} is not here", name));
      return;
    }
    need_domain(*view, name);
    check_no_aliases_of(*view, name);
    mailboxes = count_mailboxes(*view, name);
  }
  auto removed = run_awaitable(session.store().remove_domain(name, given.purge));
  if (!removed && removed.error().code == mailstore::Errc::conflict && !given.purge) {
    const auto holds = mailboxes == 0 ? removed.error().detail : "it has " + counted(mailboxes, "mailbox");
    fail(fmt::format(
        "domain {} was not removed: {}; say --purge to remove mailboxes, aliases and all their mail with it", name,
        holds));
  }
  need(std::move(removed), fmt::format("domain {} was not removed", name));
  session.report()(true, "removed", "domain", name,
                   given.purge && mailboxes > 0
                       ? fmt::format("domain {} removed with {} and their mail", name, counted(mailboxes, "mailbox"))
                       : fmt::format("domain {} removed", name));
}

void set_lock(Session& session, const std::string& text, bool locked) {
  const auto name = parse_given_domain(text);
  const std::string_view word = locked ? "locked" : "unlocked";
  const auto before = need_domain(*session.directory(), name).locked;
  if (before == locked) {
    session.report()(false, word, "domain", name, fmt::format("domain {} is already {}", name, word));
    return;
  }
  need(run_awaitable(session.store().lock_domain(name, locked)), fmt::format("domain {} was not {}", name, word));
  session.report()(true, word, "domain", name, fmt::format("domain {} {}", name, word));
}

Cell alias_cell(const mailstore::Domain& domain) {
  return domain.alias_of.empty() ? Cell{} : Cell{domain.alias_of};
}

void list(Session& session) {
  List out(session.format(),
           {{"name", "DOMAIN"},
            {"kind", "KIND"},
            {"alias_of", "ALIAS OF"},
            {"locked", "LOCKED"},
            {"mailboxes", "MAILBOXES"},
            {"created", ""}},
           "no domains yet; add one with 'pennypost domain add example.org'");
  each_domain(session.store(), [&](const mailstore::Domain& domain) {
    out.row({domain.name, std::string(kind_name(domain.kind)), alias_cell(domain), domain.locked, domain.mailboxes,
             Time{domain.created}});
  });
  out.end();
}

void show(Session& session, const std::string& text) {
  const auto view = session.directory();
  const auto domain = need_domain(*view, parse_given_domain(text));
  Record out(session.format());
  out.field("name", "Domain", domain.name);
  out.field("kind", "Kind", std::string(kind_name(domain.kind)));
  out.field("alias_of", domain.alias_of.empty() ? "" : "Alias of", alias_cell(domain));
  out.field("locked", "Locked", domain.locked);
  out.field("mailboxes", "Mailboxes", count_mailboxes(*view, domain.name));
  out.field("created", "Created", Time{domain.created});
  out.print();
}

}  // namespace

void add_domain_commands(CLI::App& root, Program& program) {
  auto* group = add_group(root, "domain", "The domains whose mail is ours");
  auto& session = program.session;
  {
    auto given = std::make_shared<AddArguments>();
    auto* command = add_command(*group, "add", "Adds a domain", program, [&session, given] { add(session, *given); });
    add_argument(command, "NAME", given->name, "The domain")->required();
    auto* alias_of =
        command->add_option("--alias-of", given->alias_of, "The same people as in this domain")->type_name("DOMAIN");
    auto* remote =
        command->add_flag("--remote", given->remote, "Mail for it is sent on (not supported yet)")->excludes(alias_of);
    command->add_flag("--drop", given->drop, "Mail for it goes to a folder (not supported yet)")
        ->excludes(alias_of)
        ->excludes(remote);
    command->add_flag("--if-not-exists", given->if_not_exists, "Fine if it is there in the same form");
  }
  {
    auto given = std::make_shared<RemoveArguments>();
    auto* command =
        add_command(*group, "remove", "Removes a domain", program, [&session, given] { remove(session, *given); });
    add_argument(command, "NAME", given->name, "The domain")->required();
    command->add_flag("--purge", given->purge, "Its mailboxes, aliases and all their mail with it, for ever");
    command->add_flag("--if-exists", given->if_exists, "Fine if it is not there");
  }
  add_command(*group, "list", "Lists all domains", program, [&session] { list(session); });
  const auto named = [&](const char* name, const char* description, void (*act)(Session&, const std::string&)) {
    auto given = std::make_shared<std::string>();
    auto* command = add_command(*group, name, description, program, [&session, given, act] { act(session, *given); });
    add_argument(command, "NAME", *given, "The domain")->required();
  };
  named("show", "Shows one domain", show);
  named("lock", "Locks a domain: nobody in it logs in; mail still arrives",
        [](Session& s, const std::string& name) { set_lock(s, name, true); });
  named("unlock", "Unlocks a domain", [](Session& s, const std::string& name) { set_lock(s, name, false); });
}

}  // namespace tools
