#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mailstore/directory.hpp"
#include "mailstore/types.hpp"

namespace tests {

/// What the store is to its callers, in maps: nothing is on disk, nothing is fast, and so little can be wrong. Each
/// change gives the error that the store must give; nullopt: it is done.
class Model {
 public:
  using Refusal = std::optional<mailstore::Errc>;
  struct Box {
    std::string address, display;
    bool locked = false, removed = false;
    std::optional<std::uint64_t> quota_octets;
    std::uint64_t quota_messages = 0;
    std::vector<std::string> forward;
    bool keep_copy = false;
    std::optional<mailstore::AutoReply> reply;
    std::map<std::uint64_t, std::string> messages;  ///< what a reader sees, by id
  };
  struct Domain {
    bool locked = false;
    std::string catch_all;
    std::uint64_t quota_octets = 0;
    std::string journal;
  };

  std::map<std::uint32_t, Box> boxes;  ///< by number
  std::map<std::string, Domain> domains;
  std::map<std::string, std::vector<std::string>> aliases;
  std::map<std::string, std::string> owners;  ///< of aliases that have one
  std::set<std::uint32_t> held;               ///< maildrops that a session has

  Box* at(const std::string& address) {
    for (auto& [number, box] : boxes) {
      if (box.address == address) return &box;
    }
    return nullptr;
  }
  std::uint32_t number_of(const std::string& address) {
    for (auto& [number, box] : boxes) {
      if (box.address == address) return number;
    }
    return 0;
  }
  static std::string domain_of(const std::string& address) { return address.substr(address.find('@') + 1); }

  Refusal add_domain(const std::string& name) {
    if (domains.contains(name)) return mailstore::Errc::exists;
    domains[name] = {};
    return {};
  }
  Refusal change_domain(const std::string& name, const Domain& to) {
    if (!domains.contains(name)) return mailstore::Errc::not_found;
    const auto* somebody = at(to.catch_all);
    if (!to.catch_all.empty() && !aliases.contains(to.catch_all) && (somebody == nullptr || somebody->removed))
      return mailstore::Errc::not_found;
    if (!to.journal.empty() && domains.contains(domain_of(to.journal)) && !is_somebody(to.journal))
      return mailstore::Errc::not_found;
    domains[name] = to;
    return {};
  }
  bool is_somebody(const std::string& address) {
    const auto* box = at(address);
    return aliases.contains(address) || (box != nullptr && !box->removed);
  }
  /// No maildrop of it is held.
  Refusal remove_domain(const std::string& name, bool purge) {
    if (!domains.contains(name)) return mailstore::Errc::not_found;
    const auto of_it = [&](const auto& one) { return domain_of(one.second.address) == name; };
    const auto alias_of_it = [&](const auto& one) { return domain_of(one.first) == name; };
    if (purge) {
      std::erase_if(boxes, of_it);
      std::erase_if(aliases, alias_of_it);
      std::erase_if(owners, alias_of_it);
    }
    for (const auto& one : boxes) {
      if (of_it(one)) return mailstore::Errc::conflict;
    }
    for (const auto& one : aliases) {
      if (alias_of_it(one)) return mailstore::Errc::conflict;
    }
    domains.erase(name);
    return {};
  }

  /// Why the address cannot be given.
  Refusal taken(const std::string& address) {
    if (const auto* box = at(address)) return box->removed ? mailstore::Errc::conflict : mailstore::Errc::exists;
    if (aliases.contains(address)) return mailstore::Errc::exists;
    return {};
  }
  Refusal add_mailbox(const std::string& address, std::uint32_t number) {
    if (!domains.contains(domain_of(address))) return mailstore::Errc::not_found;
    if (const auto why = taken(address)) return why;
    boxes[number] = {
        .address = address, .display = address, .quota_octets = {}, .forward = {}, .reply = {}, .messages = {}};
    return {};
  }
  Refusal change_mailbox(const std::string& address, bool locked, std::optional<std::uint64_t> quota,
                         std::uint64_t messages) {
    auto* box = at(address);
    if (box == nullptr || box->removed) return mailstore::Errc::not_found;
    box->locked = locked;
    box->quota_octets = quota;
    box->quota_messages = messages;
    return {};
  }
  Refusal forward_mailbox(const std::string& address, const std::vector<std::string>& to, bool keep_copy) {
    auto* box = at(address);
    if (box == nullptr || box->removed) return mailstore::Errc::not_found;
    if (leads_to(to, address, 0)) return mailstore::Errc::conflict;
    box->forward = to;
    box->keep_copy = keep_copy;
    return {};
  }
  Refusal answer_for_mailbox(const std::string& address, const std::optional<mailstore::AutoReply>& reply) {
    auto* box = at(address);
    if (box == nullptr || box->removed) return mailstore::Errc::not_found;
    box->reply = reply;
    return {};
  }
  Refusal remove_mailbox(const std::string& address, bool purge) {
    auto* box = at(address);
    if (box == nullptr || (box->removed && !purge)) return mailstore::Errc::not_found;
    box->removed = true;
    if (!purge) return {};
    if (held.contains(number_of(address))) return mailstore::Errc::in_use;
    boxes.erase(number_of(address));
    return {};
  }
  Refusal restore_mailbox(const std::string& address) {
    auto* box = at(address);
    if (box == nullptr) return mailstore::Errc::not_found;
    if (!box->removed) return mailstore::Errc::exists;
    box->removed = false;
    return {};
  }
  Refusal rename_mailbox(const std::string& address, const std::string& to) {
    auto* box = at(address);
    if (box == nullptr || box->removed) return mailstore::Errc::not_found;
    if (to != address) {
      if (!domains.contains(domain_of(to))) return mailstore::Errc::not_found;
      if (const auto why = taken(to)) return why;
    }
    box->address = box->display = to;
    const auto follow = [&](std::string& one) {
      if (one == address) one = to;
    };
    for (auto& [name, targets] : aliases) std::ranges::for_each(targets, follow);
    for (auto& [name, owner] : owners) follow(owner);
    for (auto& [number, other] : boxes) std::ranges::for_each(other.forward, follow);
    for (auto& [name, domain] : domains) {
      follow(domain.catch_all);
      follow(domain.journal);
    }
    return {};
  }
  Refusal put_alias(const std::string& address, const std::vector<std::string>& targets, const std::string& owner) {
    if (!domains.contains(domain_of(address))) return mailstore::Errc::not_found;
    if (at(address) != nullptr || owner == address || leads_to(targets, address, 0)) return mailstore::Errc::conflict;
    aliases[address] = targets;
    owners.erase(address);
    if (!owner.empty()) owners[address] = owner;
    return {};
  }
  Refusal remove_alias(const std::string& address) {
    if (aliases.erase(address) == 0) return mailstore::Errc::not_found;
    owners.erase(address);
    return {};
  }

 private:
  bool leads_to(const std::vector<std::string>& targets, const std::string& address, std::size_t depth) const {
    if (depth > aliases.size() + boxes.size()) return false;
    for (const auto& target : targets) {
      if (target == address) return true;
      const auto next = aliases.find(target);
      if (next != aliases.end() && leads_to(next->second, address, depth + 1)) return true;
      for (const auto& [number, box] : boxes) {
        if (box.address == target && !box.removed && leads_to(box.forward, address, depth + 1)) return true;
      }
    }
    return false;
  }
};

}  // namespace tests
