#include "common/config/read.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>

#include "common/address.hpp"
#include "common/config/document.hpp"
#include "common/config/values.hpp"
#include "common/escape.hpp"

namespace common::config {
namespace {

constexpr std::size_t id_limit = 64;
constexpr std::size_t guess_limit = 100;

std::string machine_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return canonical_domain(name.data()).value_or("localhost");
}

template <typename Owner>
void set_defaults(File file, Scope scope, std::string_view id, Owner& owner) {
  const std::string host = machine_name();
  for (const Key& key : keys(file)) {
    const std::string text = default_text(key, scope, id, host);
    if ((key.scope & scope) == 0 || text.empty()) continue;
    const auto document = parse_document("value = " + text);
    // The table contradicts itself: a mistake of ours that the first unit test finds.
    if (!document || !read_value(key, document->front().node, slot_of(key, owner)).empty()) std::abort();
  }
}

const std::string* text_of(const Table& table, std::string_view name) {
  const auto found = std::ranges::find(table, name, &Member::name);
  return found == table.end() ? nullptr : std::get_if<std::string>(&found->node.value);
}

/// The servers that the file may describe: one bit, or more when kind or role is missing or wrong.
Scope find_scope(const Table& table) {
  const auto* kind = text_of(table, "kind");
  if (kind == nullptr) return every;
  if (*kind == "lmtp") return lmtp;
  if (*kind == "pop3") return pop3;
  if (*kind != "smtp") return every;
  const bool has_role = std::ranges::count(table, "role", &Member::name) != 0;
  const auto* role = text_of(table, "role");
  if (!has_role || (role != nullptr && *role == "mx")) return mx;
  if (role != nullptr && *role == "submission") return submission;
  return smtp;
}

bool belongs(File file, Scope scope, std::string_view table) {
  const std::string prefix = std::string{table} + ".";
  return std::ranges::any_of(keys(file),
                             [&](const Key& key) { return key.name.starts_with(prefix) && (key.scope & scope) != 0; });
}

/// Walks a file and fills `Owner`.
template <typename Owner>
class Walk {
 public:
  Walk(File kind, const std::filesystem::path& file, Scope scope, Owner& owner, std::vector<Mistake>& mistakes)
      : kind_(kind), file_(file), scope_(scope), owner_(owner), mistakes_(mistakes) {}

  void top(const Table& table) {
    for (const Member& member : table) take(member, "");
    for (const Key& key : keys(kind_)) {
      if (!key.defaults.empty() || (key.scope & scope_) == 0 || places_.lines.contains(key.name)) continue;
      places_.broken.emplace(key.name);
      const std::string_view example =
          key.type == Type::listen ? R"(listen = ["0.0.0.0:25"])" : R"(kind = "smtp" or kind = "pop3")";
      tell(0, key.name, "is missing", "write " + std::string{example});
    }
  }
  Places take_places() { return std::move(places_); }

 private:
  void tell(std::uint32_t line, std::string_view key, std::string what, std::string remedy) {
    mistakes_.push_back({file_, line, escape(key, 80), std::move(what), std::move(remedy)});
  }

  void take(const Member& member, std::string_view table) {
    const std::string name = table.empty() ? member.name : std::string{table} + "." + member.name;
    // A name in quotes may hold a dot of its own; no key of ours does.
    const bool plain = !member.name.contains('.');
    const Key* key = plain ? find_key(kind_, name) : nullptr;
    if (key != nullptr) return take_key(*key, member);
    if (!plain || !table.empty() || !is_table(kind_, name)) return unknown(name, member.line);
    const auto* inner = std::get_if<Table>(&member.node.value);
    if (inner == nullptr) {
      tell(member.line, name, std::string{kind_of(member.node)} + " stands where it takes a table",
           "write [" + name + "] on a line of its own and its keys below");
    } else if (!belongs(kind_, scope_, name)) {
      tell(member.line, name, "does not belong to " + format_scope(scope_), "remove it");
    } else {
      for (const Member& each : *inner) take(each, name);
    }
  }

  void take_key(const Key& key, const Member& member) {
    places_.lines.emplace(key.name, member.line);
    if ((key.scope & scope_) == 0) {
      return tell(member.line, key.name, "does not belong to " + format_scope(scope_),
                  "remove it; it belongs to " + format_scope(key.scope));
    }
    const Slot slot = slot_of(key, owner_);
    const std::string before = format_value(key, slot);
    const auto wrongs = read_value(key, member.node, slot);
    for (const Wrong& wrong : wrongs) {
      tell(wrong.line != 0 ? wrong.line : member.line, key.name, wrong.what, wrong.remedy);
    }
    if (!wrongs.empty()) places_.broken.emplace(key.name);
    const bool works = (key.ready & key.scope & scope_) != 0;
    if (wrongs.empty() && !works && !at_default(key, slot, member.node, before)) {
      places_.broken.emplace(key.name);
      tell(member.line, key.name, "is not supported yet", "leave it out, or write its default: " + before);
    }
    if (const auto* list = std::get_if<List>(&member.node.value); key.type == Type::listen && list != nullptr) {
      for (const Node& item : *list) places_.listen.push_back(item.line);
    }
  }

  bool at_default(const Key& key, const Slot& slot, const Node& node, const std::string& before) const {
    if (!std::holds_alternative<std::monostate>(slot)) return format_value(key, slot) == before;
    const auto* table = std::get_if<Table>(&node.value);
    return table != nullptr && table->empty();
  }

  void unknown(const std::string& name, std::uint32_t line) {
    const File other = kind_ == File::suite ? File::server : File::suite;
    // In a file that is something else altogether nothing was meant.
    const bool guess = mistakes_.size() < guess_limit;
    const std::string near = guess ? nearest_key(kind_, scope_, name) : "";
    const std::string_view leaf = std::string_view{name}.substr(name.rfind('.') + 1);
    std::string remedy = "remove it";
    if (find_key(other, name) != nullptr || is_table(other, name)) {
      remedy = other == File::suite ? "write it in pennypost.toml" : "write it in a file in servers/";
    } else if (near == leaf && name.contains('.')) {
      remedy = "write it at the top of the file, before the first [table]";
    } else if (!near.empty()) {
      remedy = "did you mean " + near + "?";
    }
    tell(line, name, "is not a known key", std::move(remedy));
  }

  File kind_;
  const std::filesystem::path& file_;
  Scope scope_;
  Owner& owner_;
  std::vector<Mistake>& mistakes_;
  Places places_;
};

std::optional<Table> parse_file(const std::filesystem::path& file, std::string_view text,
                                std::vector<Mistake>& mistakes) {
  auto table = parse_document(text);
  if (table) return std::move(*table);
  mistakes.push_back({file, table.error().line, "", "this is not TOML: " + table.error().what,
                      "mend the line; a key is written name = value, a text in double quotes"});
  return std::nullopt;
}

bool is_id(std::string_view id) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  };
  return !id.empty() && id.size() <= id_limit && id.front() != '.' && std::ranges::all_of(id, fits);
}

}  // namespace

std::uint32_t Places::line(std::string_view key) const {
  const auto found = lines.find(key);
  return found == lines.end() ? 0 : found->second;
}

Suite default_suite() {
  Suite suite;
  set_defaults(File::suite, every, "", suite);
  return suite;
}

Server default_server(Scope scope, std::string_view id) {
  Server server;
  server.id = id;
  set_defaults(File::server, scope, id, server);
  return server;
}

Suite read_suite(const std::filesystem::path& file, std::string_view text, std::vector<Mistake>& mistakes) {
  Suite suite = default_suite();
  if (const auto table = parse_file(file, text, mistakes)) {
    Walk walk{File::suite, file, every, suite, mistakes};
    walk.top(*table);
  }
  return suite;
}

ReadServer read_server(const std::filesystem::path& file, std::string_view text, std::vector<Mistake>& mistakes) {
  std::string id = file.stem().native();
  if (!is_id(id)) {
    // It stands in every message's record and in the log.
    mistakes.push_back({file, 0, "", "the name of the file is no name for a server",
                        "use letters, digits, dots, hyphens and underscores, at most 64"});
    id = "unnamed";  // defaults are made of it
  }
  const auto table = parse_file(file, text, mistakes);
  const Scope scope = table ? find_scope(*table) : every;
  ReadServer read{default_server(scope, id), {}};
  read.server.file = file;
  if (table) {
    Walk walk{File::server, file, scope, read.server, mistakes};
    walk.top(*table);
    read.places = walk.take_places();
    // Entries that were wrong are not in the list: then the line of the key must do for all.
    if (read.places.listen.size() != read.server.listen.size()) {
      read.places.listen.assign(read.server.listen.size(), read.places.line("listen"));
    }
  }
  return read;
}

}  // namespace common::config
