#include "smtpd/routing/resolver.hpp"

#include <algorithm>
#include <optional>
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
  bool catch_all = false;  ///< `alias` stands for it
  explicit operator bool() const { return mailbox || alias; }
};

/// The way from one recipient to its mailboxes.
class Walk {
 public:
  enum class CatchAll : std::uint8_t { no, yes };
  Walk(DirectoryView& directory, std::string_view default_domain, CatchAll catch_all, Relay relay,
       Explanation* explanation)
      : directory_(directory),
        default_domain_(default_domain),
        catch_all_(catch_all),
        relay_(relay),
        explanation_(explanation) {}

  /// `written`: the same address with its local part as the peer has it, which is how it is sent on (RFC 5321 2.4).
  Result<void> from(const std::string& address, std::string written = {}) {
    written_ = std::move(written);
    return visit(address, 0);
  }
  const std::vector<Target>& targets() const { return targets_; }
  Resolution take() {
    if (worst_ != Outcome::found) return {worst_, {}, {}};
    if (targets_.empty() && remotes_.empty()) return {gone_, {}, {}};
    return {Outcome::found, std::move(targets_), std::move(remotes_), drop_};
  }

 private:
  void explain(std::string_view address, std::string_view rule, std::string what) {
    if (explanation_ != nullptr) explanation_->push_back({std::string{address}, rule, std::move(what)});
  }

  /// The domain whose directory entries count for `name`; nullopt: none of ours, the address is sent on or the reason
  /// why not is noted.
  Result<std::optional<mailstore::Domain>> home_of(std::string_view name, const std::string& address,
                                                   std::size_t depth) {
    std::string at{name};
    // An alias domain of an alias domain is refused by the store; one step more than it allows is looked at.
    for (int hop = 0; hop < 3; ++hop) {
      auto domain = directory_.domain(at);
      if (!domain) return std::unexpected(std::move(domain.error()));
      if (!*domain && hop == 0) {
        auto remote = find_remote_domain(directory_, at);
        if (!remote) return std::unexpected(std::move(remote.error()));
        send_on(*remote, at, address, depth);
        return std::nullopt;
      }
      if (!*domain) {
        explain(address, "alias domain", at + ", which it stands for, is not there");
        note(Outcome::no_domain);
        return std::nullopt;
      }
      if ((*domain)->kind == DomainKind::local) return std::move(*domain);
      if ((*domain)->kind == DomainKind::remote) {
        send_on(*domain, at, address, depth);
        return std::nullopt;
      }
      if ((*domain)->kind == DomainKind::drop) {
        // It may wait as mail for elsewhere does: for room, for a server that has a folder.
        explain(address, "drop domain", at + " is a drop domain: its mail goes to the drop folder");
        drop_ = true;
        add_remote(address, depth);
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
               std::size_t depth) {
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
    add_remote(address, depth);
  }

  void add_remote(const std::string& address, std::size_t depth) {
    if (remote_seen_.insert(address).second) remotes_.push_back(depth == 0 ? written_ : address);
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

  /// Exact, plus form, postmaster, catch-all.
  Result<Found> find_in_order(std::string_view local, const mailstore::Domain& home) {
    const std::string& domain = home.name;
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
    if (catch_all_ == CatchAll::yes && !home.catch_all.empty()) {
      explain(address, "catch-all", "is nobody's, and goes to the catch-all address " + home.catch_all);
      // As an alias would: what is behind it is found by the same rules.
      return Found{std::nullopt, mailstore::Alias{address, {home.catch_all}}, true};
    }
    return found;
  }

  Result<void> visit(const std::string& address, std::size_t depth) {
    if (depth > alias_depth_limit || seen_.size() >= address_limit) {
      explain(address, "alias", "is too far away: aliases lead too deep, or to too many");
      note(Outcome::too_far);
      return {};
    }
    // A recipient that is no alias needs no memory of where we were.
    if (depth > 0 && !seen_.insert(address).second) {
      explain(address, "alias", "was met before");
      return {};
    }
    const auto at = address.rfind('@');
    if (at == std::string::npos) {
      note(Outcome::unknown);
      return {};
    }
    const std::string_view local = std::string_view{address}.substr(0, at);
    auto home = home_of(std::string_view{address}.substr(at + 1), address, depth);
    if (!home) return std::unexpected(std::move(home.error()));
    if (!*home) return {};
    auto found = find_in_order(local, **home);
    if (!found) return std::unexpected(std::move(found.error()));
    if (found->mailbox) {
      explain(address, "mailbox",
              found->mailbox->address == address ? "is a mailbox" : "leads to the mailbox " + found->mailbox->address);
      return add(std::move(*found->mailbox), **home);
    }
    if (!found->alias) {
      explain(address, "unknown", "is neither mailbox nor alias");
      note(Outcome::unknown);
      return {};
    }
    for (const auto& target : found->alias->targets) {
      if (!found->catch_all) explain(found->alias->address, "alias", "is an alias of " + target);
    }
    for (const auto& target : found->alias->targets) {
      if (auto visited = visit(target, depth + 1); !visited) return visited;
    }
    return {};
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
  CatchAll catch_all_;
  Relay relay_;
  Explanation* explanation_;
  std::string written_;
  Outcome worst_ = Outcome::found;   ///< what makes the whole recipient wrong
  Outcome gone_ = Outcome::unknown;  ///< why there is nobody, when there is nobody
  std::vector<Target> targets_;
  std::unordered_set<std::string> seen_;
  std::unordered_set<mailstore::MailboxNumber> numbers_;
  std::vector<std::string> remotes_;
  std::unordered_set<std::string> remote_seen_;
  bool drop_ = false;
};

}  // namespace

Result<std::optional<mailstore::Domain>> find_remote_domain(DirectoryView& directory, std::string_view domain) {
  auto found = directory.domain(domain);
  if (!found || (*found && (*found)->kind == DomainKind::remote)) return found;
  for (auto dot = domain.find('.'); dot != std::string_view::npos; dot = domain.find('.', dot + 1)) {
    std::string pattern{"*"};
    pattern += domain.substr(dot);
    found = directory.domain(pattern);
    if (!found || *found) return found;
  }
  return std::nullopt;
}

Result<Resolution> resolve(DirectoryView& directory, const common::Address& recipient, std::string_view default_domain,
                           Relay relay, Explanation* explanation) {
  Walk walk{directory, default_domain, Walk::CatchAll::yes, relay, explanation};
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
                                     Relay relay, Explanation* explanation) {
  auto found = resolve(directory, recipient, default_domain, relay, explanation);
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
  Walk walk{directory, default_domain, Walk::CatchAll::no, Relay::denied, nullptr};
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
