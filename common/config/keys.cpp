#include "common/config/keys.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <numeric>
#include <utility>

#include "common/config/document.hpp"

namespace common::config {
namespace {

/// Insertions, deletions and replacements that lead from one text to the other (Levenshtein).
std::size_t distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < from.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < to.size(); ++j) {
      const std::size_t replaced = diagonal + (from[i] == to[j] ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({replaced, row[j] + 1, row[j + 1] + 1}));
    }
  }
  return row.back();
}

std::string_view last_part(std::string_view name) {
  return name.substr(name.rfind('.') + 1);
}
std::string_view table_part(std::string_view name) {
  return name.substr(0, std::min(name.find('.'), name.size()));
}

std::string replace(std::string_view text, std::string_view mark, std::string_view with) {
  std::string out{text};
  const auto at = out.find(mark);
  if (at == std::string::npos) return out;
  const std::string quoted = format_string(with);
  return out.replace(at, mark.size(), quoted, 1, quoted.size() - 2);
}

}  // namespace

Scope scope_of(Kind kind, Role role) {
  switch (kind) {
    case Kind::smtp:
      return role == Role::mx ? mx : submission;
    case Kind::lmtp:
      return lmtp;
    case Kind::pop3:
      return pop3;
  }
  return every;
}

std::string format_scope(Scope scope) {
  constexpr std::array<std::pair<Scope, std::string_view>, 5> names = {{{smtp, "kind smtp"},
                                                                        {mx, "kind smtp, role mx"},
                                                                        {submission, "kind smtp, role submission"},
                                                                        {lmtp, "kind lmtp"},
                                                                        {pop3, "kind pop3"}}};
  if (scope == every) return "every kind";
  std::string text;
  for (const auto& [bits, name] : names) {
    if ((scope & bits) != bits) continue;
    if (!text.empty()) text += " or ";
    text += name;
    scope &= ~bits;
  }
  return text;
}

std::span<const Key> keys(File file) {
  return file == File::suite ? suite_keys() : server_keys();
}

const Key* find_key(File file, std::string_view name) {
  const auto all = keys(file);
  const auto found = std::ranges::find(all, name, &Key::name);
  return found == all.end() ? nullptr : &*found;
}

bool is_table(File file, std::string_view name) {
  return std::ranges::any_of(keys(file),
                             [name](const Key& key) { return key.name.contains('.') && table_part(key.name) == name; });
}

std::string nearest_key(File file, Scope scope, std::string_view name) {
  std::string_view best;
  // A third of the letters may be wrong; beyond that a guess misleads.
  std::size_t least = std::min(name.size(), std::size_t{64}) / 3 + 1;
  const auto weigh = [&](std::string_view candidate, std::size_t cost) {
    if (cost < least) best = candidate, least = cost;
  };
  const std::string_view asked = name.substr(0, 64);
  for (const Key& key : keys(file)) {
    if ((key.scope & scope) == 0) continue;
    weigh(key.name, distance(asked, key.name));
    if (asked.contains('.') || !key.name.contains('.')) {
      // The right name in the wrong table.
      if (last_part(asked) == last_part(key.name)) weigh(key.name, 1);
    } else {
      weigh(table_part(key.name), distance(asked, table_part(key.name)));
      if (asked == last_part(key.name)) weigh(key.name, 1);
    }
  }
  return std::string{best};
}

Slot slot_of(const Key& key, Suite& suite) {
  return key.suite == nullptr ? Slot{} : key.suite(suite);
}
Slot slot_of(const Key& key, Server& server) {
  return key.server == nullptr ? Slot{} : key.server(server);
}

std::string default_text(const Key& key, Scope scope, std::string_view id, std::string_view host) {
  const auto found =
      std::ranges::find_if(key.defaults, [scope](const Default& standard) { return (standard.where & scope) != 0; });
  if (found == key.defaults.end()) return {};
  return replace(replace(found->text, "{id}", id), "{host}", host);
}

}  // namespace common::config
