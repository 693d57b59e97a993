#include "smtpd/routing/resolver.hpp"

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace smtpd::routing {
namespace {

using mailstore::DirectoryView;
using mailstore::DomainKind;
using mailstore::Result;

constexpr std::string_view postmaster = "postmaster";

std::string with_domain(std::string_view local, std::string_view domain) {
  std::string address{local};
  address += '@';
  address += domain;
  return address;
}

/// The mailbox that plain <postmaster> reaches (RFC 5321 4.5.1): always.
bool is_central_postmaster(std::string_view address, std::string_view default_domain) {
  return address.starts_with("postmaster@") && address.substr(postmaster.size() + 1) == default_domain;
}

/// What the directory has under one address.
struct Found {
  std::optional<mailstore::Mailbox> mailbox;
  std::optional<mailstore::Alias> alias;
  bool returns = false;    ///< an SRS address: nobody's here
  bool stands_in = false;  ///< `alias` is none of the directory's: a catch-all, a group's owner
  explicit operator bool() const { return mailbox || alias || returns; }
};

/// As if `address` were an alias of `target`.
Found stand_in(const std::string& address, std::string target) {
  Found found;
  found.alias = mailstore::Alias{address, {std::move(target)}};
  found.stands_in = true;
  return found;
}

/// What led to an address, for mail that leaves from there.
struct Origin {
  std::string by{};  ///< the last alias or mailbox
  std::string returns_to{};
};

/// The way from one recipient to its mailboxes.
class Walk {
 public:
  enum class Purpose : std::uint8_t {
    delivery,
    ownership,  ///< whose address it is: what reaches somebody as a catch-all, or since another forwards it, is not
                ///< theirs
  };
  Walk(DirectoryView& directory, std::string_view default_domain, Purpose purpose, Relay relay,
       Explanation* explanation, const Returns* returns)
      : directory_(directory),
        default_domain_(default_domain),
        purpose_(purpose),
        relay_(relay),
        explanation_(explanation),
        returns_(returns) {}

  /// `written`: the same address with its local part as the peer has it, which is how it is sent on (RFC 5321 2.4).
  Result<void> from(const std::string& address, std::string written = {}) {
    written_ = std::move(written);
    auto visited = visit(address, 0, {});
    if (!visited) return std::unexpected(std::move(visited.error()));
    return {};
  }
  const std::vector<Target>& targets() const { return targets_; }
  Resolution take() {
    Resolution found;
    found.outcome = worst_ != Outcome::found ? worst_ : targets_.empty() && remotes_.empty() ? gone_ : Outcome::found;
    if (found.outcome != Outcome::found) return found;
    found.targets = std::move(targets_);
    found.remotes = std::move(remotes_);
    found.responders = std::move(responders_);
    found.journals = std::move(journals_);
    found.drop = drop_;
    return found;
  }

 private:
  void explain(std::string_view address, std::string_view rule, std::string what) {
    if (explanation_ != nullptr) explanation_->push_back({std::string{address}, rule, std::move(what)});
  }

  /// What is remembered of an address on the way.
  enum class Fate : std::uint8_t { open, nowhere, somewhere };

  /// The domain whose directory entries count for `name`; nullopt: none of ours, the address is sent on or the reason
  /// why not is noted.
  Result<std::optional<mailstore::Domain>> home_of(std::string_view name, const std::string& address, std::size_t depth,
                                                   const Origin& origin) {
    std::string at{name};
    // An alias domain of an alias domain is refused by the store; one step more than it allows is looked at.
    for (int hop = 0; hop < 3; ++hop) {
      auto domain = directory_.domain(at);
      if (!domain) return std::unexpected(std::move(domain.error()));
      if (!*domain && hop == 0) {
        auto remote = find_remote_domain(directory_, at);
        if (!remote) return std::unexpected(std::move(remote.error()));
        send_on(*remote, at, address, depth, origin);
        return std::nullopt;
      }
      if (!*domain) {
        explain(address, "alias domain", at + ", which it stands for, is not there");
        note(Outcome::no_domain);
        return std::nullopt;
      }
      if ((*domain)->kind == DomainKind::local) return std::move(*domain);
      if ((*domain)->kind == DomainKind::remote) {
        send_on(*domain, at, address, depth, origin);
        return std::nullopt;
      }
      if ((*domain)->kind == DomainKind::drop) {
        // It may wait as mail for elsewhere does: for room, for a server that has a folder.
        explain(address, "drop domain", at + " is a drop domain: its mail goes to the drop folder");
        drop_ = true;
        add_remote(address, depth, origin);
        return std::nullopt;
      }
      explain(address, "alias domain", at + " has the local parts of " + (*domain)->alias_of);
      at = std::move((*domain)->alias_of);
    }
    note(Outcome::no_domain);
    return std::nullopt;
  }

  /// `depth` 0: the peer named it; else an alias of ours did.
  void send_on(const std::optional<mailstore::Domain>& remote, const std::string& name, const std::string& address,
               std::size_t depth, const Origin& origin) {
    const std::string_view rule = remote ? "remote domain" : "not ours";
    const std::string what = !remote                ? name + " is not a domain of ours"
                             : remote->name == name ? name + " is a remote domain"
                                                    : name + " is one of the remote domains " + remote->name;
    const bool for_everybody = remote && remote->remote.allow_relay;
    if (depth == 0 && relay_ == Relay::denied && !for_everybody) {
      explain(address, rule, what + ", and relaying to it is denied");
      return note(Outcome::not_ours);
    }
    const std::string_view why = depth > 0       ? ": what an alias of ours names is sent on"
                                 : for_everybody ? ": its mail is sent on, whoever hands it in (--allow-relay)"
                                                 : ": its mail is sent on for those who may relay";
    explain(address, rule, what + std::string{why});
    add_remote(address, depth, origin);
  }

  void add_remote(const std::string& address, std::size_t depth, const Origin& origin) {
    if (remote_seen_.insert(address).second)
      remotes_.push_back({depth == 0 ? written_ : address, origin.by, origin.returns_to});
  }

  void note(Outcome outcome) {
    if (outcome == Outcome::not_ours || outcome == Outcome::too_far) {
      worst_ = outcome;
    } else {
      gone_ = outcome;
    }
  }

  Result<Found> find(const std::string& address) {
    Found found;
    auto mailbox = directory_.mailbox(address);
    if (!mailbox) return std::unexpected(std::move(mailbox.error()));
    found.mailbox = std::move(*mailbox);
    if (found.mailbox) return found;
    auto alias = directory_.alias(address);
    if (!alias) return std::unexpected(std::move(alias.error()));
    found.alias = std::move(*alias);
    return found;
  }

  /// The group that "owner-GROUP" or "GROUP-owner" speaks of, if it has an owner.
  Result<std::optional<mailstore::Alias>> find_group(std::string_view local, std::string_view domain) {
    constexpr std::string_view before = "owner-", behind = "-owner";
    std::string_view name;
    if (local.starts_with(before)) name = local.substr(before.size());
    if (local.ends_with(behind)) name = local.substr(0, local.size() - behind.size());
    if (name.empty()) return std::nullopt;
    auto group = directory_.alias(with_domain(name, domain));
    if (group && *group && (*group)->owner.empty()) return std::nullopt;
    return group;
  }

  /// Exact, plus form, postmaster, a group's owner, catch-all.
  Result<Found> find_in_order(std::string_view local, const mailstore::Domain& home) {
    const std::string& domain = home.name;
    const bool has_srs_form = returns_ != nullptr && Srs::has_form(local);
    std::string address = with_domain(local, domain);
    auto found = find(address);
    if (!found || *found) return found;
    const auto plus = local.find('+');
    if (home.plus_addressing && plus != std::string_view::npos && plus != 0) {
      const std::string base = with_domain(local.substr(0, plus), domain);
      found = find(base);
      if (!found) return found;
      if (*found) {
        explain(address, "plus form", "is the plus form of " + base);
        return found;
      }
      local = local.substr(0, plus);
    }
    // RFC 5321 4.5.1: every domain has a postmaster.
    if (local == postmaster && domain != default_domain_ && !default_domain_.empty()) {
      const std::string central = with_domain(postmaster, default_domain_);
      found = find(central);
      if (found && *found) explain(address, "postmaster", "goes to " + central);
      if (!found || *found) return found;
    }
    if (has_srs_form) {
      found->returns = true;
      return found;
    }
    auto group = find_group(local, domain);
    if (!group) return std::unexpected(std::move(group.error()));
    if (*group) {
      explain(address, "group", "is the owner of " + (*group)->address + ", " + (*group)->owner);
      return stand_in(address, std::move((*group)->owner));
    }
    if (purpose_ == Purpose::delivery && !home.catch_all.empty()) {
      explain(address, "catch-all", "is nobody's, and goes to the catch-all address " + home.catch_all);
      // As an alias would: what is behind it is found by the same rules.
      return stand_in(address, home.catch_all);
    }
    return found;
  }

  /// Whether mail for `address` arrives anywhere. One that is still being followed does not: it would be a circle.
  Result<bool> visit(const std::string& address, std::size_t depth, const Origin& origin) {
    if (depth > alias_depth_limit || seen_.size() >= address_limit) {
      explain(address, "alias", "is too far away: aliases lead too deep, or to too many");
      note(Outcome::too_far);
      return false;
    }
    // A recipient that leads nowhere else needs no memory of where we were.
    if (depth > 0) {
      const auto [known, fresh] = seen_.try_emplace(address, Fate::open);
      if (!fresh) {
        explain(address, "alias", "was met before");
        return known->second == Fate::somewhere;
      }
    }
    auto arrives = follow(address, depth, origin);
    if (arrives && depth > 0) seen_[address] = *arrives ? Fate::somewhere : Fate::nowhere;
    return arrives;
  }

  Result<bool> follow(const std::string& address, std::size_t depth, const Origin& origin) {
    const auto at = address.rfind('@');
    if (at == std::string::npos) {
      note(Outcome::unknown);
      return false;
    }
    const std::string_view local = std::string_view{address}.substr(0, at);
    if (returns_ != nullptr && Srs::has_form(local) && address.substr(at + 1) == returns_->srs.domain())
      return go_back(address, depth);
    const auto remotes_before = remote_seen_.size();
    auto home = home_of(std::string_view{address}.substr(at + 1), address, depth, origin);
    if (!home) return std::unexpected(std::move(home.error()));
    if (!*home) return remote_seen_.size() > remotes_before || remote_seen_.contains(address);
    auto found = find_in_order(local, **home);
    if (!found) return std::unexpected(std::move(found.error()));
    const auto& journal = (*home)->journal;
    const bool somebody = found->mailbox || found->alias;
    if (somebody && !journal.empty() && std::ranges::find(journals_, journal) == journals_.end())
      journals_.push_back(journal);
    if (found->mailbox) {
      const auto& own = found->mailbox->address;
      explain(address, "mailbox", own == address ? "is a mailbox" : "leads to the mailbox " + own);
      if (found->mailbox->forward.empty() || purpose_ == Purpose::ownership)
        return arrive(std::move(*found->mailbox), **home);
      return forward(std::move(*found->mailbox), **home, depth, origin);
    }
    if (found->returns) return go_back(address, depth);
    if (!found->alias) {
      explain(address, "unknown", "is neither mailbox nor alias");
      note(Outcome::unknown);
      return false;
    }
    for (const auto& target : found->alias->targets) {
      if (!found->stands_in) explain(found->alias->address, "alias", "is an alias of " + target);
    }
    Origin from{found->alias->address, origin.returns_to};
    if (!found->alias->owner.empty()) {
      from.returns_to = found->alias->owner;
      explain(found->alias->address, "group", "is a group: what comes back goes to " + found->alias->owner);
    }
    return visit_all(found->alias->targets, depth, from);
  }

  /// An SRS address of ours: to whom it stands for.
  Result<bool> go_back(const std::string& address, std::size_t depth) {
    const auto named = common::parse_address(depth == 0 && !written_.empty() ? written_ : address);
    if (!named) {
      note(Outcome::forged_return);
      return false;
    }
    const auto stranger = returns_->srs.back(*named, returns_->today);
    if (!stranger) {
      const bool expired = stranger.error() == Srs::Fault::expired;
      explain(address, "SRS",
              expired ? "stood for a sender's address, and has expired"
                      : "has the form of an SRS address, and is none that we made");
      note(expired ? Outcome::expired_return : Outcome::forged_return);
      return false;
    }
    const auto domain = directory_.domain(stranger->domain);
    if (!domain) return std::unexpected(domain.error());
    // As it was written, for a server elsewhere; as the directory has it, for us.
    const bool remote = !*domain || (*domain)->kind == DomainKind::remote;
    const auto to = remote ? common::format_address(*stranger) : common::canonical_key(*stranger);
    explain(address, "SRS", "stands for the sender " + to);
    return visit(to, depth + 1, {address, {}});
  }

  Result<bool> visit_all(const std::vector<std::string>& targets, std::size_t depth, const Origin& origin) {
    bool arrives = false;
    for (const auto& target : targets) {
      const auto visited = visit(target, depth + 1, origin);
      if (!visited) return visited;
      arrives = arrives || *visited;
    }
    return arrives;
  }

  /// What leads nowhere, to people who are gone or back to here, is kept: mail is not lost by somebody's mistake.
  Result<bool> forward(mailstore::Mailbox mailbox, const mailstore::Domain& home, std::size_t depth,
                       const Origin& origin) {
    // Also where the peer named it: what it leads to may lead back.
    const auto [known, fresh] = forwarding_.try_emplace(mailbox.address, Fate::open);
    if (!fresh) return known->second == Fate::somewhere;
    for (const auto& target : mailbox.forward) explain(mailbox.address, "forwarding", "forwards its mail to " + target);
    const auto own = mailbox.address;
    const auto unknown_before = gone_;
    const auto worst_before = std::exchange(worst_, Outcome::found);
    const auto sent_on = visit_all(mailbox.forward, depth, {own, origin.returns_to});
    if (!sent_on) return sent_on;
    gone_ = unknown_before;
    // Some that it leads to were not reached, and nobody knows how many.
    const bool too_far = worst_ != Outcome::found;
    worst_ = worst_before;
    forwarding_[own] = Fate::somewhere;
    if (*sent_on && !mailbox.keep_copy && !too_far) {
      respond(mailbox);
      return true;
    }
    explain(own, "forwarding",
            too_far    ? "keeps its mail: what it forwards to leads too far"
            : *sent_on ? "keeps a copy"
                       : "keeps its mail: what it forwards to leads nowhere");
    return arrive(std::move(mailbox), home);
  }

  void respond(const mailstore::Mailbox& mailbox) {
    if (!mailbox.auto_reply) return;
    const bool there = std::ranges::any_of(
        responders_, [&](const Responder& responder) { return responder.mailbox == mailbox.number; });
    if (!there) responders_.push_back({mailbox.number, mailbox.address});
  }

  Result<bool> arrive(mailstore::Mailbox mailbox, const mailstore::Domain& home) {
    respond(mailbox);
    if (auto added = add(std::move(mailbox), home); !added) return std::unexpected(std::move(added.error()));
    return true;
  }

  Result<void> add(mailstore::Mailbox mailbox, const mailstore::Domain& home) {
    const bool there = targets_.size() < 16
                           ? std::ranges::any_of(
                                 targets_, [&](const Target& t) { return t.mailbox == mailbox.number; })
                           : !numbers().insert(mailbox.number).second;
    if (there) return {};
    mailstore::Limits limits;
    if (mailbox.quota_octets || mailbox.address.ends_with('@' + home.name)) {
      limits = mailstore::limits_of(mailbox, home);
    } else {
      // The central postmaster, from another domain.
      auto own = directory_.domain(mailbox.address.substr(mailbox.address.rfind('@') + 1));
      if (!own) return std::unexpected(std::move(own.error()));
      limits = mailstore::limits_of(mailbox, *own ? **own : mailstore::Domain{});
    }
    targets_.push_back({mailbox.number, std::move(mailbox.address), limits});
    return {};
  }

  std::unordered_set<mailstore::MailboxNumber>& numbers() {
    if (numbers_.empty()) {
      for (const auto& target : targets_) numbers_.insert(target.mailbox);
    }
    return numbers_;
  }

  DirectoryView& directory_;
  std::string_view default_domain_;
  Purpose purpose_;
  Relay relay_;
  Explanation* explanation_;
  const Returns* returns_;
  std::string written_;
  Outcome worst_ = Outcome::found;   ///< what makes the whole recipient wrong
  Outcome gone_ = Outcome::unknown;  ///< why there is nobody, when there is nobody
  std::vector<Target> targets_;
  std::unordered_map<std::string, Fate> seen_;
  std::unordered_map<std::string, Fate> forwarding_;  ///< mailboxes that forward
  std::unordered_set<mailstore::MailboxNumber> numbers_;
  std::vector<Onward> remotes_;
  std::vector<Responder> responders_;
  std::vector<std::string> journals_;
  std::unordered_set<std::string> remote_seen_;
  bool drop_ = false;
};

}  // namespace

Result<std::optional<mailstore::Domain>> find_remote_domain(DirectoryView& directory, std::string_view domain) {
  auto found = directory.domain(domain);
  if (!found || (*found && (*found)->kind == DomainKind::remote)) return found;
  // A domain of ours is none of the pattern's: its mail is nobody else's to ask for.
  if (*found) return std::nullopt;
  for (auto dot = domain.find('.'); dot != std::string_view::npos; dot = domain.find('.', dot + 1)) {
    std::string pattern{"*"};
    pattern += domain.substr(dot);
    found = directory.domain(pattern);
    if (!found || *found) return found;
  }
  return std::nullopt;
}

Result<Resolution> resolve(DirectoryView& directory, const common::Address& recipient, std::string_view default_domain,
                           Relay relay, Explanation* explanation, const Returns* returns) {
  Walk walk{directory, default_domain, Walk::Purpose::delivery, relay, explanation, returns};
  if (auto walked = walk.from(common::canonical_key(recipient), common::format_address(recipient)); !walked)
    return std::unexpected(std::move(walked.error()));
  return walk.take();
}

bool complete(common::Address& address, std::string_view default_domain, Explanation* explanation) {
  if (!address.domain.empty()) return true;
  if (explanation != nullptr) {
    explanation->push_back({address.local, "default domain",
                            default_domain.empty() ? "has no domain, and the server has no default_domain"
                                                   : "has no domain, and gets the server's default_domain " +
                                                         std::string{default_domain}});
  }
  address.domain = default_domain;
  return !default_domain.empty();
}

Result<Resolution> resolve_with_room(DirectoryView& directory, const common::Address& recipient,
                                     std::optional<std::uint64_t> declared, std::string_view default_domain,
                                     Relay relay, Explanation* explanation, const Returns* returns) {
  auto found = resolve(directory, recipient, default_domain, relay, explanation, returns);
  if (!found || found->outcome != Outcome::found) return found;
  const auto room = check_room(directory, found->targets, declared, default_domain, explanation);
  if (!room) return std::unexpected(room.error());
  found->outcome = *room;
  return found;
}

Result<Outcome> check_room(DirectoryView& directory, const std::vector<Target>& targets,
                           std::optional<std::uint64_t> declared, std::string_view default_domain,
                           Explanation* explanation) {
  auto outcome = Outcome::found;
  for (const auto& target : targets) {
    const auto& limits = target.limits;
    if (limits.octets == 0 && limits.messages == 0) continue;
    if (is_central_postmaster(target.address, default_domain)) continue;
    if (limits.octets != 0 && declared.value_or(0) > limits.octets) return Outcome::too_big;
    const auto totals = directory.totals(target.mailbox);
    if (!totals) return std::unexpected(totals.error());
    const bool octets_used_up = limits.octets != 0 && totals->octets >= limits.octets;
    const bool messages_used_up = limits.messages != 0 && totals->messages >= limits.messages;
    if (!octets_used_up && !messages_used_up) continue;
    outcome = Outcome::full;
    if (explanation != nullptr) explanation->push_back({target.address, "quota", "is full"});
  }
  return outcome;
}

Result<std::optional<Account>> find_account(DirectoryView& directory, std::string_view name,
                                            std::string_view default_domain) {
  auto address = common::parse_address(name);
  if (!address) return std::nullopt;
  complete(*address, default_domain);
  auto domain = directory.domain(address->domain);
  if (!domain) return std::unexpected(std::move(domain.error()));
  bool domain_locked = false;
  if (*domain && (*domain)->kind == DomainKind::alias) {
    domain_locked = (*domain)->locked;
    address->domain = (*domain)->alias_of;
    domain = directory.domain(address->domain);
    if (!domain) return std::unexpected(std::move(domain.error()));
  }
  if (!*domain) return std::nullopt;
  auto mailbox = directory.mailbox(common::canonical_key(*address));
  if (!mailbox) return std::unexpected(std::move(mailbox.error()));
  if (!*mailbox) return std::nullopt;
  const bool central = is_central_postmaster((*mailbox)->address, default_domain);
  const bool locked = (*mailbox)->locked || (!central && (domain_locked || (*domain)->locked));
  return Account{std::move(**mailbox), locked};
}

bool is_granted(const mailstore::Mailbox& account, const common::Address& sender) {
  const auto key = common::canonical_key(sender);
  const auto domain = std::string_view{key}.substr(key.rfind('@'));
  return std::ranges::any_of(account.send_as,
                             [&](const std::string& grant) { return grant == key || grant == domain; });
}

Result<std::vector<Target>> find_readers(DirectoryView& directory, const common::Address& address,
                                         std::string_view default_domain) {
  Walk walk{directory, default_domain, Walk::Purpose::ownership, Relay::denied, nullptr, nullptr};
  if (auto walked = walk.from(common::canonical_key(address)); !walked)
    return std::unexpected(std::move(walked.error()));
  return walk.targets();
}

Result<bool> is_address_of(DirectoryView& directory, const common::Address& sender, mailstore::MailboxNumber mailbox,
                           std::string_view default_domain) {
  const auto readers = find_readers(directory, sender, default_domain);
  if (!readers) return std::unexpected(readers.error());
  if (std::ranges::any_of(*readers, [&](const Target& target) { return target.mailbox == mailbox; })) return true;
  const auto account = directory.mailbox(mailbox);
  if (!account) return std::unexpected(account.error());
  return *account && is_granted(**account, sender);
}

}  // namespace smtpd::routing
