// pennypost domain: the domains whose mail is ours.

#include <memory>

#include <fmt/ranges.h>

#include "mailstore/queue.hpp"
#include "smtpd/routing/resolver.hpp"
#include "tools/pennypost/await.hpp"
#include "tools/pennypost/limits.hpp"
#include "tools/pennypost/names.hpp"
#include "tools/pennypost/pages.hpp"
#include "tools/pennypost/program.hpp"
#include "tools/pennypost/remote_settings.hpp"

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

/// Settings of a local domain, as options; empty: not given.
struct Settings {
  std::string catch_all;
  std::string quota;
  std::string plus_addressing;
  std::string journal;
  FetchOptions fetch;
  bool given() const {
    return fetch.given() || !(catch_all.empty() && quota.empty() && plus_addressing.empty() && journal.empty());
  }
};

void add_setting_options(CLI::App* command, Settings& settings) {
  command->add_option("--catch-all", settings.catch_all, "Mail for addresses that nobody has goes here; none: nowhere")
      ->type_name("ADDRESS");
  command->add_option("--quota", settings.quota, "Most octets a mailbox without a quota of its own holds; 0: no limit")
      ->type_name("SIZE");
  command->add_option("--plus-addressing", settings.plus_addressing, "name+anything reaches name; on unless set")
      ->type_name("on|off");
  command->add_option("--journal", settings.journal, "This address gets a copy of all mail of the domain; none: nobody")
      ->type_name("ADDRESS");
  add_fetch_options(command, settings.fetch);
}

mailstore::DomainChange parse_settings(const Settings& given) {
  mailstore::DomainChange change;
  if (given.catch_all == "none") {
    change.catch_all = std::string();
  } else if (!given.catch_all.empty()) {
    change.catch_all = parse_given_address(given.catch_all).key;
  }
  if (given.journal == "none") {
    change.journal = std::string();
  } else if (!given.journal.empty()) {
    change.journal = parse_given_address(given.journal).key;
  }
  if (!given.quota.empty()) change.quota_octets = need_size("--quota", given.quota);
  if (!given.plus_addressing.empty()) {
    if (given.plus_addressing != "on" && given.plus_addressing != "off")
      refuse(fmt::format("--plus-addressing {}: write on or off", given.plus_addressing));
    change.plus_addressing = given.plus_addressing == "on";
  }
  return change;
}

void apply(const mailstore::DomainChange& change, mailstore::Domain& domain) {
  if (change.catch_all) domain.catch_all = *change.catch_all;
  if (change.quota_octets) domain.quota_octets = *change.quota_octets;
  if (change.plus_addressing) domain.plus_addressing = *change.plus_addressing;
  if (change.journal) domain.journal = *change.journal;
  if (change.fetch) domain.fetch = *change.fetch;
}

std::string describe(const mailstore::Domain& domain) {
  return fmt::format(
      "{}, {}, plus addressing {}{}{}", domain.catch_all.empty() ? "no catch-all" : "catch-all " + domain.catch_all,
      domain.quota_octets == 0 ? "no quota" : "quota " + format_octets(domain.quota_octets),
      domain.plus_addressing ? "on" : "off", domain.journal.empty() ? "" : ", copies of all mail to " + domain.journal,
      domain.fetch.from.empty() ? "" : ", mail fetched " + describe_fetch(domain.fetch));
}

/// Looked at before the store does, for a remedy.
void need_somebody(mailstore::DirectoryView& view, const mailstore::DomainChange& change) {
  if (!change.catch_all || change.catch_all->empty()) return;
  const auto& address = *change.catch_all;
  if (need(view.mailbox(address), fmt::format("{} could not be read", address))) return;
  if (need(view.alias(address), fmt::format("{} could not be read", address))) return;
  fail(
      fmt::format("--catch-all {}: nobody has this address; add it first with 'pennypost mailbox add {}', then "
                  "'pennypost domain set'",
                  address, address));
}

struct AddArguments {
  std::string name;
  std::string alias_of;
  bool remote = false;
  bool drop = false;
  bool if_not_exists = false;
  Settings settings;
  RemoteOptions remote_options;
  HostOptions host;
};

/// What the line says the domain is to be.
mailstore::DomainKind kind_of(const AddArguments& given) {
  if (given.remote) return mailstore::DomainKind::remote;
  if (given.drop) return mailstore::DomainKind::drop;
  return given.alias_of.empty() ? mailstore::DomainKind::local : mailstore::DomainKind::alias;
}

/// Nothing to do for a name that is there, in the same form; nullopt: it is not there.
bool is_already_there(mailstore::DirectoryView& view, const std::string& name, const AddArguments& given,
                      const std::string& alias_of) {
  const auto there = need(view.domain(name), fmt::format("domain {} could not be read", name));
  if (!there) return false;
  if (const auto wanted = kind_of(given); there->kind != wanted || there->alias_of != alias_of) {
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
  const auto name = given.remote ? parse_given_domain_or_pattern(given.name) : parse_given_domain(given.name);
  mailstore::Domain domain;
  domain.name = name;
  domain.kind = kind_of(given);
  if (given.remote && given.settings.given())
    refuse(
        "--remote: a remote domain has no mailboxes, so --catch-all, --quota, --plus-addressing and --journal mean "
        "nothing");
  if (given.drop && given.settings.given())
    refuse(
        "--drop: a drop domain has no mailboxes, so --catch-all, --quota, --plus-addressing, --journal and "
        "--fetch-from mean nothing");
  if (!given.remote && (given.remote_options.given() || (given.host.given() && !given.settings.fetch.given())))
    refuse("say --remote: the way that mail is sent on is a setting of remote domains alone");
  if (given.remote) apply(given.remote_options, given.host, domain.remote);
  if (!given.alias_of.empty()) {
    if (given.settings.given())
      refuse("--alias-of: an alias domain has the settings of the domain that it stands for; set them there");
    domain.alias_of = parse_given_domain(given.alias_of);
    if (domain.alias_of == name)
      refuse(fmt::format("--alias-of {}: a domain cannot be its own alias; name another", name));
  }
  auto settings = parse_settings(given.settings);
  if (given.settings.fetch.given()) apply(given.settings.fetch, given.host, settings.fetch.emplace());
  apply(settings, domain);
  {
    const auto view = session.directory();
    need_accounts(*view, domain.remote);
    if (is_already_there(*view, name, given, domain.alias_of)) {
      session.report()(false, "added", "domain", name, fmt::format("domain {} is already here", name));
      return;
    }
    if (!domain.alias_of.empty()) need_local_domain(*view, domain.alias_of);
    // The first domain's postmaster comes with it.
    if (settings.catch_all != "postmaster@" + name) need_somebody(*view, settings);
  }
  const auto alias_of = domain.alias_of;
  const auto sent = given.remote ? ", remote, " + describe_remote(domain.remote) : std::string{};
  need(run_awaitable(session.store().add_domain(std::move(domain))), fmt::format("domain {} was not added", name));
  // RFC 5321 4.5.1: postmaster is always reached. The first domain brings the mailbox for it.
  const auto postmaster = "postmaster@" + name;
  const bool first =
      need(session.directory()->mailbox(postmaster), fmt::format("{} could not be read", postmaster)).has_value();
  std::string more;
  if (given.remote) {
    more = sent;
  } else if (given.drop) {
    more = ": its mail goes to the drop folder of the virtual server that takes it";
  } else if (!alias_of.empty()) {
    more = ", an alias of " + alias_of;
  } else if (first) {
    more = fmt::format(" with mailbox {} (no password yet: 'pennypost mailbox passwd {}')", postmaster, postmaster);
  }
  session.report()(true, "added", "domain", name, fmt::format("domain {} added{}", name, more));
}

/// What waits for a domain that is held no more is tried now: the scheduler looks at the directory when it looks at the
/// queue.
void let_go(Session& session, const std::string& name) {
  auto queue = session.store().queue();
  constexpr std::size_t page = 1000;
  std::string after;
  for (bool more = true; more;) {
    const auto waiting = need(queue.domains(after, page), "the queue could not be read");
    for (const auto& one : waiting.domains) {
      const auto settings = need(smtpd::routing::find_remote_domain(*session.directory(), one.name),
                                 fmt::format("domain {} could not be read", one.name));
      if (!settings || settings->name != name) continue;
      need(run_awaitable(queue.flush(one.name)), fmt::format("what waits for {} was not let go", one.name));
    }
    after = waiting.last;
    more = waiting.more;
  }
}

void set_remote(Session& session, const mailstore::Domain& before, const RemoteOptions& given,
                const HostOptions& host) {
  const auto& name = before.name;
  auto after = before.remote;
  apply(given, host, after);
  need_accounts(*session.directory(), after);
  if (after == before.remote) {
    session.report()(false, "set", "domain", name,
                     fmt::format("domain {} has that already: {}", name, describe_remote(after)));
    return;
  }
  mailstore::DomainChange change;
  change.remote = after;
  need(run_awaitable(session.store().change_domain(name, std::move(change))),
       fmt::format("domain {} was not changed", name));
  if (before.remote.hold && !after.hold) let_go(session, name);
  session.report()(true, "set", "domain", name, fmt::format("domain {}: {}", name, describe_remote(after)));
}

void set(Session& session, const std::string& text, const Settings& given, const RemoteOptions& remote,
         const HostOptions& host) {
  const auto name = parse_given_domain_or_pattern(text);
  if (!given.given() && !remote.given() && !host.given())
    refuse("nothing to set; give --catch-all, --quota or --plus-addressing, or for a remote domain --route and others");
  if (remote.given() && given.given())
    refuse("settings of a local domain and of a remote one; a domain is one of them");
  // --security and its like belong to either kind.
  auto before = need_domain(*session.directory(), name);
  if (remote.given() || (!given.given() && before.kind == mailstore::DomainKind::remote)) {
    if (before.kind != mailstore::DomainKind::remote) {
      fail(fmt::format("domain {} is no remote domain; its mail is not sent on, see 'pennypost domain show {}'", name,
                       name));
    }
    return set_remote(session, before, remote, host);
  }
  auto change = parse_settings(given);
  {
    const auto view = session.directory();
    before = need_local_domain(*view, name);
    need_somebody(*view, change);
  }
  if (given.fetch.given() || host.given()) {
    change.fetch = before.fetch;
    apply(given.fetch, host, *change.fetch);
  }
  auto after = before;
  apply(change, after);
  if (after.catch_all == before.catch_all && after.quota_octets == before.quota_octets &&
      after.plus_addressing == before.plus_addressing && after.journal == before.journal &&
      after.fetch == before.fetch) {
    session.report()(false, "set", "domain", name,
                     fmt::format("domain {} has that already: {}", name, describe(after)));
    return;
  }
  need(run_awaitable(session.store().change_domain(name, std::move(change))),
       fmt::format("domain {} was not changed", name));
  session.report()(true, "set", "domain", name, fmt::format("domain {}: {}", name, describe(after)));
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
  const auto name = parse_given_domain_or_pattern(given.name);
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
  const auto domain = need_domain(*view, parse_given_domain_or_pattern(text));
  const bool remote = domain.kind == mailstore::DomainKind::remote;
  Record out(session.format());
  out.field("name", "Domain", domain.name);
  out.field("kind", "Kind", std::string(kind_name(domain.kind)));
  out.field("alias_of", domain.alias_of.empty() ? "" : "Alias of", alias_cell(domain));
  out.field("locked", "Locked", domain.locked);
  out.field("mailboxes", "Mailboxes", count_mailboxes(*view, domain.name));
  const bool local = domain.kind == mailstore::DomainKind::local;
  out.field("catch_all", domain.catch_all.empty() ? "" : "Catch-all",
            domain.catch_all.empty() ? Cell{} : Cell{domain.catch_all});
  out.field("quota", domain.quota_octets == 0 ? "" : "Quota of a mailbox", Octets{domain.quota_octets});
  out.field("plus_addressing", local ? "Plus addressing" : "", local ? Cell{domain.plus_addressing} : Cell{});
  out.field("fetch", domain.fetch.from.empty() ? "" : "Mail is fetched",
            domain.fetch.from.empty() ? Cell{} : Cell{describe_fetch(domain.fetch)});
  out.field("journal", domain.journal.empty() ? "" : "Copies of all mail to",
            domain.journal.empty() ? Cell{} : Cell{domain.journal});
  const auto& way = domain.remote;
  const auto set = [&](std::string_view key, std::string_view label, bool given, Cell value) {
    out.field(key, remote && given ? label : "", remote && given ? std::move(value) : Cell{});
  };
  set("route", "Route", !way.route.empty(), way.route);
  set("security", "Security", way.security.has_value(),
      std::string(way.security ? security_name(*way.security) : std::string_view()));
  set("username", "User name", !way.username.empty(), way.username);
  set("esmtp", "EHLO", true, !way.no_esmtp);
  set("allow_relay", "Anybody may send to it", true, way.allow_relay);
  set("rate", "Messages a minute", true, std::uint64_t{way.rate});
  set("connections", "Connections", true, std::uint64_t{way.connections});
  set("hold", "Held until it is asked for", true, way.hold);
  set("dequeue_accounts", "Handed over to", !way.dequeue_accounts.empty(),
      fmt::format("{}", fmt::join(way.dequeue_accounts, ", ")));
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
    auto* remote = command->add_flag("--remote", given->remote, "Mail for it is sent on; NAME may be *.example.com")
                       ->excludes(alias_of);
    command
        ->add_flag("--drop", given->drop,
                   "Mail for it goes to the drop folder of the virtual server that takes it, a file each")
        ->excludes(alias_of)
        ->excludes(remote);
    command->add_flag("--if-not-exists", given->if_not_exists, "Fine if it is there in the same form");
    add_setting_options(command, given->settings);
    add_remote_options(command, given->remote_options);
    add_host_options(command, given->host);
  }
  {
    auto name = std::make_shared<std::string>();
    auto settings = std::make_shared<Settings>();
    auto remote = std::make_shared<RemoteOptions>();
    auto host = std::make_shared<HostOptions>();
    auto* command =
        add_command(*group, "set", "Changes the settings of a local or remote domain", program,
                    [&session, name, settings, remote, host] { set(session, *name, *settings, *remote, *host); });
    add_argument(command, "NAME", *name, "The domain")->required();
    add_setting_options(command, *settings);
    add_remote_options(command, *remote);
    add_host_options(command, *host);
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
