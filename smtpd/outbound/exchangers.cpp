#include "smtpd/outbound/exchangers.hpp"

#include <algorithm>
#include <utility>

#include "common/host_port.hpp"
#include "smtpd/outbound/reply_answer.hpp"

namespace smtpd::outbound {
namespace {

std::string named(std::string_view name, std::string_view rest) {
  std::string text{name};
  text += rest;
  return text;
}

/// Fisher and Yates, within equal preferences.
void shuffle_equals(std::vector<Exchanger>& sorted, const Dice& dice) {
  for (std::size_t from = 0; from < sorted.size();) {
    std::size_t to = from + 1;
    while (to < sorted.size() && sorted[to].preference == sorted[from].preference) ++to;
    for (std::size_t left = to - from; left > 1; --left) {
      std::swap(sorted[from + left - 1], sorted[from + dice(static_cast<std::uint32_t>(left))]);
    }
    from = to;
  }
}

}  // namespace

std::expected<std::vector<Exchanger>, Answer> choose_exchangers(std::string_view domain, const MxAnswer& found,
                                                                std::span<const std::string> own_names,
                                                                const Dice& dice) {
  if (found.lookup == Lookup::no_name)
    return std::unexpected(own_answer(Stage::routing, "5.1.2", named(domain, ": no such domain")));
  if (found.lookup == Lookup::trouble) {
    std::string text = named(domain, ": the name service has no answer");
    if (!found.why.empty()) text += ": " + found.why;
    return std::unexpected(own_answer(Stage::routing, "4.4.3", text));
  }
  auto sorted = found.records;
  const auto real = std::erase_if(sorted, [](const Exchanger& each) { return each.host.empty(); });
  if (sorted.empty() && real > 0) {
    auto answer = own_answer(Stage::routing, "5.1.10", named(domain, ": takes no mail (null MX)"));
    answer.code = 556;  // RFC 7505 4.2
    return std::unexpected(std::move(answer));
  }
  // RFC 5321 5.1: without MX the domain is its own exchanger.
  if (sorted.empty()) sorted.push_back({0, std::string{domain}});

  std::ranges::stable_sort(sorted, {}, &Exchanger::preference);
  const auto ours = std::ranges::find_if(
      sorted, [&](const Exchanger& each) { return std::ranges::find(own_names, each.host) != own_names.end(); });
  if (ours != sorted.end()) {
    const auto preference = ours->preference;
    std::erase_if(sorted, [&](const Exchanger& each) { return each.preference >= preference; });
    if (sorted.empty()) {
      return std::unexpected(own_answer(Stage::routing, "5.4.6",
                                        named(domain, ": its mail exchanger is this server, which does not know it")));
    }
  }
  shuffle_equals(sorted, dice);
  // The same host under two preferences is one host.
  std::vector<Exchanger> chosen;
  for (auto& each : sorted) {
    const bool there = std::ranges::find(chosen, each.host, &Exchanger::host) != chosen.end();
    if (!there && chosen.size() < exchangers_limit) chosen.push_back(std::move(each));
  }
  return chosen;
}

Families families_of(std::span<const std::string> bind) {
  if (bind.empty()) return {};
  Families families{false, false};
  for (const auto& address : bind) (common::is_ipv6(address) ? families.ipv6 : families.ipv4) = true;
  return families;
}

std::vector<std::string> order_addresses(std::span<const std::string> addresses, Families families) {
  std::vector<std::string> six, four, ordered;
  for (const auto& address : addresses) {
    auto& kind = common::is_ipv6(address) ? six : four;
    if (std::ranges::find(kind, address) == kind.end()) kind.push_back(address);
  }
  if (!families.ipv6) six.clear();
  if (!families.ipv4) four.clear();
  for (std::size_t i = 0; i < std::max(six.size(), four.size()); ++i) {
    if (i < six.size() && ordered.size() < addresses_limit) ordered.push_back(six[i]);
    if (i < four.size() && ordered.size() < addresses_limit) ordered.push_back(four[i]);
  }
  return ordered;
}

Answer no_address(std::string_view host, const AddressAnswer& found) {
  auto answer = found.lookup == Lookup::trouble
                    ? own_answer(Stage::routing, "4.4.3", named(host, ": the name service has no answer"))
                : found.lookup == Lookup::no_name ? own_answer(Stage::routing, "5.1.2", named(host, ": no such host"))
                : found.lookup == Lookup::empty
                    ? own_answer(Stage::routing, "5.1.2", named(host, ": the host has no address"))
                    : own_answer(Stage::routing, "4.4.1", named(host, ": no address that we can reach"));
  if (!found.why.empty()) answer.text += ": " + found.why;
  answer.elsewhere = true;
  return answer;
}

bool is_unknown_to_dns(std::span<const Answer> failures) {
  return !failures.empty() && std::ranges::all_of(failures, [](const Answer& each) {
    return each.enhanced == "5.1.2" || each.enhanced == "4.4.3";
  });
}

const Answer& worst_hope(std::span<const Answer> failures) {
  for (const auto& each : failures) {
    if (each.outcome != Outcome::permanent) return each;
  }
  return failures.front();
}

}  // namespace smtpd::outbound
