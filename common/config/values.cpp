#include "common/config/values.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>

#include "common/address.hpp"
#include "common/escape.hpp"
#include "common/host_port.hpp"
#include "common/network.hpp"

namespace common::config {
namespace {

constexpr std::string_view size_remedy = R"(write octets or a number with KB, MB or GB, as "50MB")";
constexpr std::string_view time_remedy = R"(write a number with s, m, h or d, as "5m")";
constexpr std::string_view host_remedy = R"(write a host, as "relay.example.net:587" or "[192.0.2.9]:587")";
constexpr std::size_t text_limit = 1024;

std::string in_quotes(std::string_view text) {
  return "\"" + escape(text, 80) + "\"";
}

template <typename T, typename V>
bool contains(const std::vector<T>& all, const V& one) {
  return std::ranges::find(all, one) != all.end();
}

std::string join(const std::vector<std::string_view>& names) {
  std::string text;
  for (const auto name : names) text += (text.empty() ? "" : ", ") + std::string{name};
  return text;
}

/// The address as the system writes it.
std::optional<std::string> numeric(const std::string& text) {
  in6_addr octets{};  // room for either family
  const int family = text.contains(':') ? AF_INET6 : AF_INET;
  if (text.contains('\0') || inet_pton(family, text.c_str(), &octets) != 1) return std::nullopt;
  std::array<char, INET6_ADDRSTRLEN> name{};
  inet_ntop(family, &octets, name.data(), name.size());
  return name.data();
}

/// Reads the values of one key and gathers what is wrong with them.
class Reader {
 public:
  explicit Reader(const Key& key) : key_(key) {}
  void read(const Node& node, const Slot& slot);
  std::vector<Wrong> take_wrongs() { return std::move(wrongs_); }

 private:
  void wrong(const Node& node, std::string what, std::string_view remedy) {
    wrongs_.push_back({node.line, std::move(what), std::string{remedy}});
  }
  void wrong_type(const Node& node, std::string_view remedy) {
    wrong(node, fmt::format("{} stands where it takes {}", kind_of(node), wanted()), remedy);
  }
  std::string_view wanted() const;

  template <typename T>
  static void put(const Slot& slot, T value) {
    if (auto* const* place = std::get_if<T*>(&slot)) **place = std::move(value);
  }
  /// The node as `T`, null after telling that it is none.
  template <typename T>
  const T* as(const Node& node, std::string_view remedy) {
    const T* value = std::get_if<T>(&node.value);
    if (value == nullptr) wrong_type(node, remedy);
    return value;
  }
  bool in_range(const Node& node, std::int64_t value, std::string (*format)(std::int64_t));
  /// Text without control characters, null after telling what is wrong.
  const std::string* text(const Node& node);
  std::optional<std::string> domain(const Node& node);
  std::optional<std::string> mail_address(const Node& node);
  std::optional<std::string> host(const Node& node);
  std::optional<std::string> path(const Node& node);
  std::optional<std::size_t> choice(const Node& node);
  std::optional<Duration> time(const Node& node);
  std::vector<std::string> texts(const Node& node);
  void read_networks(const Node& node, const Slot& slot);
  void read_addresses(const Node& node, const Slot& slot);
  void read_size(const Node& node, const Slot& slot);
  void read_time_or_never(const Node& node, const Slot& slot);
  void read_choice(const Node& node, const Slot& slot);
  void read_choices(const Node& node, const Slot& slot);
  void read_times(const Node& node, const Slot& slot);
  void read_lists(const Node& node, const Slot& slot);
  void read_hosts(const Node& node, const Slot& slot);
  void read_routes(const Node& node, const Slot& slot);
  void read_zones(const Node& node, const Slot& slot);
  void read_servers(const Node& node, const Slot& slot);
  void read_filters(const Node& node, const Slot& slot);
  void read_sni(const Node& node, const Slot& slot);
  void read_listen(const Node& node, const Slot& slot);

  const Key& key_;
  std::vector<Wrong> wrongs_;
};

std::string_view Reader::wanted() const {
  switch (key_.type) {
    case Type::boolean:
      return "true or false";
    case Type::count:
      return "a whole number";
    case Type::size:
      return "a size";
    case Type::time:
    case Type::time_or_never:
      return "a time";
    case Type::text:
    case Type::domain:
    case Type::mail_address:
    case Type::host:
    case Type::path:
    case Type::choice:
      return "a text";
    case Type::choices:
    case Type::texts:
    case Type::zones:
    case Type::servers:
    case Type::filters:
    case Type::listen:
      return "a list of texts";
    case Type::networks:
      return "a list of addresses and networks";
    case Type::addresses:
      return "a list of addresses";
    case Type::times:
      return "a list of times";
    case Type::lists:
    case Type::hosts:
      return "a table of lists";
    case Type::routes:
      return "a table of texts";
    case Type::sni:
      return "a list of tables";
  }
  return "";
}

bool Reader::in_range(const Node& node, std::int64_t value, std::string (*format)(std::int64_t)) {
  if (value == 0 && key_.zero_is_none) return true;
  if (value >= key_.least && value <= key_.most) return true;
  const bool bounded = key_.most != std::numeric_limits<std::int64_t>::max();
  wrong(node, format(value) + " is out of range",
        (key_.zero_is_none ? "write 0 for none, or " : "write ") + format(key_.least) +
            (bounded ? " to " + format(key_.most) : " or more"));
  return false;
}

const std::string* Reader::text(const Node& node) {
  const auto* value = as<std::string>(node, "write it in double quotes");
  if (value == nullptr) return nullptr;
  const bool controls =
      std::ranges::any_of(*value, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
  if (controls) {
    wrong(node, in_quotes(*value) + " holds a control character", "leave it out");
  } else if (value->size() > text_limit) {
    wrong(node, in_quotes(*value) + " is too long", fmt::format("write at most {} octets", text_limit));
  } else if (value->empty() && !key_.may_be_empty) {
    wrong(node, "is empty", "write a value, or leave the key out");
  } else {
    return value;
  }
  return nullptr;
}

std::optional<std::string> Reader::domain(const Node& node) {
  const auto* value = text(node);
  if (value == nullptr) return std::nullopt;
  if (value->empty()) return "";
  auto name = canonical_domain(*value);
  if (name) return std::move(*name);
  wrong(node, in_quotes(*value) + ": " + name.error(), R"(write a domain name, as "mail.example.org")");
  return std::nullopt;
}

std::optional<std::string> Reader::mail_address(const Node& node) {
  const auto* value = text(node);
  if (value == nullptr) return std::nullopt;
  if (value->empty()) return "";
  const auto address = parse_address(*value);
  if (address && !address->domain.empty()) return format_address(*address);
  wrong(node, in_quotes(*value) + ": " + (address ? std::string{"has no domain"} : address.error()),
        R"(write a whole address, as "postmaster@example.org")");
  return std::nullopt;
}

std::optional<std::string> Reader::host(const Node& node) {
  const auto* value = text(node);
  if (value == nullptr) return std::nullopt;
  if (value->empty()) return "";
  const auto where = parse_host_port(*value, 0);
  if (where) return *value;
  wrong(node, in_quotes(*value) + ": " + where.error(), host_remedy);
  return std::nullopt;
}

std::optional<std::string> Reader::path(const Node& node) {
  const auto* value = text(node);
  if (value == nullptr) return std::nullopt;
  const bool named = contains(key_.choices, std::string_view{*value});
  if (value->empty() || value->starts_with('/') || named) return *value;
  const std::string others = key_.choices.empty() ? "" : join(key_.choices) + ", or ";
  wrong(node, in_quotes(*value) + " is a relative path", "write " + others + "the whole path, beginning with /");
  return std::nullopt;
}

std::optional<std::size_t> Reader::choice(const Node& node) {
  const auto* value = as<std::string>(node, "write one of " + join(key_.choices) + " in double quotes");
  if (value == nullptr) return std::nullopt;
  std::vector<std::string_view> working;
  std::ranges::copy_if(key_.choices, std::back_inserter(working),
                       [this](std::string_view name) { return !contains(key_.later, name); });
  const auto found = std::ranges::find(key_.choices, std::string_view{*value});
  if (found == key_.choices.end()) {
    wrong(node, in_quotes(*value) + " is not known here", "write one of " + join(working));
  } else if (contains(key_.later, *found)) {
    wrong(node, in_quotes(*value) + " is not supported yet", "write one of " + join(working));
  } else {
    return static_cast<std::size_t>(found - key_.choices.begin());
  }
  return std::nullopt;
}

std::optional<Duration> Reader::time(const Node& node) {
  const auto* number = std::get_if<std::int64_t>(&node.value);
  if (number != nullptr && *number != 0) {
    wrong(node, fmt::format("{} has no unit", *number), time_remedy);
    return std::nullopt;
  }
  Duration value{};
  if (number == nullptr) {
    const auto* written = as<std::string>(node, time_remedy);
    if (written == nullptr) return std::nullopt;
    const auto parsed = parse_time(*written);
    if (!parsed) {
      wrong(node, in_quotes(*written) + " " + parsed.error(), time_remedy);
      return std::nullopt;
    }
    value = *parsed;
  }
  const auto format = [](std::int64_t ms) { return "\"" + format_time(Duration{ms}) + "\""; };
  if (!in_range(node, value.count(), format)) return std::nullopt;
  return value;
}

void Reader::read_size(const Node& node, const Slot& slot) {
  std::int64_t value = 0;
  if (const auto* number = std::get_if<std::int64_t>(&node.value)) {
    value = *number;
  } else {
    const auto* written = as<std::string>(node, size_remedy);
    if (written == nullptr) return;
    const auto parsed = parse_size(*written);
    if (!parsed) return wrong(node, in_quotes(*written) + " " + parsed.error(), size_remedy);
    value = static_cast<std::int64_t>(*parsed);
  }
  const auto format = [](std::int64_t octets) {
    return octets < 0 ? std::to_string(octets) : "\"" + format_size(static_cast<Octets>(octets)) + "\"";
  };
  if (in_range(node, value, format)) put(slot, static_cast<Octets>(value));
}

void Reader::read_time_or_never(const Node& node, const Slot& slot) {
  const auto* word = std::get_if<std::string>(&node.value);
  if (word != nullptr && *word == "never") return put(slot, std::optional<Duration>{});
  if (const auto value = time(node)) put(slot, value);
}

void Reader::read_choice(const Node& node, const Slot& slot) {
  const auto index = choice(node);
  if (!index) return;
  put(slot, std::string{key_.choices[*index]});
  put(slot, static_cast<LogLevel>(*index));
  put(slot, static_cast<Kind>(*index));
  put(slot, static_cast<Role>(*index));
}

void Reader::read_choices(const Node& node, const Slot& slot) {
  const auto* list = as<List>(node, "write a list of " + join(key_.choices));
  if (list == nullptr) return;
  std::vector<std::string> chosen;
  for (const Node& item : *list) {
    const auto index = choice(item);
    if (!index) continue;
    std::string name{key_.choices[*index]};
    if (contains(chosen, name)) {
      wrong(item, in_quotes(name) + " is listed twice", "write it once");
    } else {
      chosen.push_back(std::move(name));
    }
  }
  put(slot, std::move(chosen));
}

std::vector<std::string> Reader::texts(const Node& node) {
  std::vector<std::string> found;
  const auto* list = as<List>(node, R"(write a list, as ["one", "two"])");
  if (list == nullptr) return found;
  for (const Node& item : *list) {
    if (const auto* value = text(item)) found.push_back(*value);
  }
  return found;
}

void Reader::read_networks(const Node& node, const Slot& slot) {
  constexpr std::string_view usage = R"(write a list, as ["192.0.2.7", "2001:db8::/32"])";
  const auto* list = as<List>(node, usage);
  if (list == nullptr) return;
  std::vector<std::string> found;
  for (const Node& item : *list) {
    const auto* value = text(item);
    if (value == nullptr) continue;
    if (const auto network = parse_network(*value); !network) {
      wrong(item, in_quotes(*value) + " " + network.error(), usage);
    } else {
      found.push_back(*value);
    }
  }
  put(slot, std::move(found));
}

void Reader::read_addresses(const Node& node, const Slot& slot) {
  constexpr std::string_view usage = R"(write a list, as ["192.0.2.1", "2001:db8::1"])";
  const auto* list = as<List>(node, usage);
  if (list == nullptr) return;
  std::vector<std::string> found;
  for (const Node& item : *list) {
    const auto* value = text(item);
    if (value == nullptr) continue;
    auto address = numeric(*value);
    if (!address) {
      wrong(item, in_quotes(*value) + " is no numeric address", usage);
    } else if (contains(found, *address)) {
      wrong(item, in_quotes(*value) + " is listed twice", "write it once");
    } else {
      found.push_back(std::move(*address));
    }
  }
  put(slot, std::move(found));
}

void Reader::read_times(const Node& node, const Slot& slot) {
  const auto* list = as<List>(node, R"(write a list, as ["15m", "4h"])");
  if (list == nullptr) return;
  if (list->empty() && !key_.may_be_empty) return wrong(node, "is empty", R"(write a list, as ["15m", "4h"])");
  std::vector<Duration> found;
  for (const Node& item : *list) {
    if (const auto value = time(item)) found.push_back(*value);
  }
  put(slot, std::move(found));
}

void Reader::read_lists(const Node& node, const Slot& slot) {
  const auto* table = as<Table>(node, R"(write a table, as { "name" = ["text"] })");
  if (table == nullptr) return;
  Hosts lists;
  for (const Member& member : *table) lists.emplace(member.name, texts(member.node));
  put(slot, std::move(lists));
}

void Reader::read_hosts(const Node& node, const Slot& slot) {
  const auto* table = as<Table>(node, R"(write a table, as { "name" = ["address"] })");
  if (table == nullptr) return;
  Hosts hosts;
  for (const Member& member : *table) {
    const auto name = canonical_domain(member.name);
    if (!name) {
      wrongs_.push_back(
          {member.line, in_quotes(member.name) + ": " + name.error(), R"(write a domain name, as "mail.example.org")"});
      continue;
    }
    auto& addresses = hosts[*name];
    const auto* list = as<List>(member.node, R"(write a list, as ["192.0.2.1"])");
    if (list == nullptr) continue;
    for (const Node& item : *list) {
      const auto* value = text(item);
      if (value == nullptr) continue;
      auto address = numeric(*value);
      if (address) {
        addresses.push_back(std::move(*address));
      } else {
        wrong(item, in_quotes(*value) + " is no numeric address", R"(write it as "192.0.2.1" or "2001:db8::1")");
      }
    }
  }
  put(slot, std::move(hosts));
}

void Reader::read_routes(const Node& node, const Slot& slot) {
  const auto* table = as<Table>(node, R"(write a table, as { "example.org" = "smtp.example.net:587" })");
  if (table == nullptr) return;
  Routes routes;
  for (const Member& member : *table) {
    const std::string_view star = member.name.starts_with("*.") ? "*." : "";
    const auto name = canonical_domain(std::string_view{member.name}.substr(star.size()));
    if (!name) {
      wrongs_.push_back({member.line, in_quotes(member.name) + ": " + name.error(),
                         R"(write a domain name, as "example.org" or "*.example.org")"});
      continue;
    }
    auto to = host(member.node);
    if (!to) continue;
    if (to->empty()) {
      wrong(member.node, in_quotes(member.name) + " has no host", host_remedy);
    } else if (!routes.emplace(std::string{star} + *name, std::move(*to)).second) {
      wrongs_.push_back({member.line, in_quotes(member.name) + " is listed twice", "write it once"});
    }
  }
  put(slot, std::move(routes));
}

void Reader::read_zones(const Node& node, const Slot& slot) {
  const auto* list = as<List>(node, R"(write a list, as ["example.org"])");
  if (list == nullptr) return;
  std::vector<std::string> zones;
  for (const Node& item : *list) {
    const auto* value = std::get_if<std::string>(&item.value);
    if (value != nullptr && *value == ".") {
      zones.emplace_back(".");
    } else if (auto zone = domain(item); zone && !zone->empty()) {
      zones.push_back(std::move(*zone));
    } else if (zone) {
      wrong(item, "is empty", R"(write a domain name, or "." for all)");
    }
  }
  put(slot, std::move(zones));
}

void Reader::read_servers(const Node& node, const Slot& slot) {
  const auto* list = as<List>(node, R"(write a list, as ["192.0.2.53:53"])");
  if (list == nullptr) return;
  std::vector<std::string> servers;
  for (const Node& item : *list) {
    const auto* value = text(item);
    if (value == nullptr) continue;
    auto server = parse_server(*value);
    if (server) {
      servers.push_back(std::move(*server));
    } else {
      wrong(item, std::move(server.error().what), server.error().remedy);
    }
  }
  put(slot, std::move(servers));
}

void Reader::read_filters(const Node& node, const Slot& slot) {
  const auto* list = as<List>(node, R"(write a list, as ["inet:8891@127.0.0.1", "unix:/run/filter.sock"])");
  if (list == nullptr) return;
  std::vector<std::string> filters;
  for (const Node& item : *list) {
    const auto* value = text(item);
    if (value == nullptr) continue;
    auto filter = parse_filter(*value);
    if (!filter) {
      wrong(item, std::move(filter.error().what), filter.error().remedy);
    } else if (std::ranges::find(filters, filter->text) != filters.end()) {
      wrong(item, in_quotes(*value) + " stands there twice", "name each filter once");
    } else {
      filters.push_back(std::move(filter->text));
    }
  }
  put(slot, std::move(filters));
}

void Reader::read_sni(const Node& node, const Slot& slot) {
  constexpr std::string_view usage = "write [[tls.sni]] with name, certificate and key";
  const auto* list = as<List>(node, usage);
  if (list == nullptr) return;
  std::vector<Sni> found;
  for (const Node& item : *list) {
    const auto* table = as<Table>(item, usage);
    if (table == nullptr) continue;
    Sni sni;
    const std::size_t before = wrongs_.size();
    for (const Member& member : *table) {
      if (member.name == "name") {
        sni.name = domain(member.node).value_or("");
      } else if (member.name == "certificate") {
        sni.certificate = path(member.node).value_or("");
      } else if (member.name == "key") {
        sni.key = path(member.node).value_or("");
      } else {
        wrong(member.node, in_quotes(member.name) + " is not known in tls.sni", usage);
      }
    }
    if (wrongs_.size() == before && (sni.name.empty() || sni.certificate.empty() || sni.key.empty())) {
      wrong(item, "a table lacks name, certificate or key", usage);
    } else if (std::ranges::count(found, sni.name, &Sni::name) != 0) {
      wrong(item, in_quotes(sni.name) + " is listed twice", "write one certificate for each name");
    } else {
      found.push_back(std::move(sni));
    }
  }
  put(slot, std::move(found));
}

void Reader::read_listen(const Node& node, const Slot& slot) {
  constexpr std::string_view usage = R"(write a list, as ["0.0.0.0:25", "[::]:25"])";
  const auto* list = as<List>(node, usage);
  if (list == nullptr) return;
  if (list->empty()) return wrong(node, "is empty", usage);
  std::vector<Listen> found;
  for (const Node& item : *list) {
    const auto* value = text(item);
    if (value == nullptr) continue;
    auto listen = parse_listen(*value);
    if (listen) {
      found.push_back(std::move(*listen));
    } else {
      wrong(item, std::move(listen.error().what), listen.error().remedy);
    }
  }
  put(slot, std::move(found));
}

void Reader::read(const Node& node, const Slot& slot) {
  switch (key_.type) {
    case Type::boolean:
      if (const auto* value = as<bool>(node, "write true or false, without quotes")) put(slot, *value);
      break;
    case Type::count: {
      const auto* value = as<std::int64_t>(node, "write a number, without quotes");
      const auto format = [](std::int64_t number) { return std::to_string(number); };
      if (value != nullptr && in_range(node, *value, format)) put(slot, *value);
      break;
    }
    case Type::size:
      read_size(node, slot);
      break;
    case Type::time:
      if (const auto value = time(node)) put(slot, *value);
      break;
    case Type::time_or_never:
      read_time_or_never(node, slot);
      break;
    case Type::text:
      if (const auto* value = text(node)) put(slot, *value);
      break;
    case Type::domain:
      if (auto value = domain(node)) put(slot, std::move(*value));
      break;
    case Type::mail_address:
      if (auto value = mail_address(node)) put(slot, std::move(*value));
      break;
    case Type::host:
      if (auto value = host(node)) put(slot, std::move(*value));
      break;
    case Type::path:
      if (const auto value = path(node)) {
        put(slot, *value);
        put(slot, std::filesystem::path{*value});
      }
      break;
    case Type::choice:
      read_choice(node, slot);
      break;
    case Type::choices:
      read_choices(node, slot);
      break;
    case Type::texts:
      put(slot, texts(node));
      break;
    case Type::networks:
      read_networks(node, slot);
      break;
    case Type::addresses:
      read_addresses(node, slot);
      break;
    case Type::times:
      read_times(node, slot);
      break;
    case Type::lists:
      read_lists(node, slot);
      break;
    case Type::hosts:
      read_hosts(node, slot);
      break;
    case Type::routes:
      read_routes(node, slot);
      break;
    case Type::zones:
      read_zones(node, slot);
      break;
    case Type::servers:
      read_servers(node, slot);
      break;
    case Type::filters:
      read_filters(node, slot);
      break;
    case Type::sni:
      read_sni(node, slot);
      break;
    case Type::listen:
      read_listen(node, slot);
      break;
  }
}

}  // namespace

std::vector<Wrong> read_value(const Key& key, const Node& node, const Slot& slot) {
  Reader reader{key};
  reader.read(node, slot);
  return reader.take_wrongs();
}

}  // namespace common::config
