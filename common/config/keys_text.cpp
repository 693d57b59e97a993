#include <algorithm>
#include <utility>

#include "common/config/keys.hpp"
#include "common/config/values.hpp"

namespace common::config {
namespace {

std::string_view type_name(const Key& key) {
  switch (key.type) {
    case Type::boolean:
      return "true or false";
    case Type::count:
      return "number";
    case Type::size:
      return "size";
    case Type::time:
      return "time";
    case Type::time_or_never:
      return "time, or never";
    case Type::text:
      return "text";
    case Type::domain:
      return "domain name";
    case Type::mail_address:
      return "mail address";
    case Type::host:
      return "host, also with :port; a numeric one in brackets";
    case Type::path:
      return key.choices.empty() ? "absolute path" : "absolute path, or one of";
    case Type::choice:
      return "one of";
    case Type::choices:
      return "list of";
    case Type::texts:
      return "list of texts";
    case Type::networks:
      return "list of addresses and networks";
    case Type::addresses:
      return "list of numeric addresses";
    case Type::times:
      return "list of times";
    case Type::lists:
      return "table of lists";
    case Type::hosts:
      return "table of names with lists of addresses";
    case Type::routes:
      return "table of domain names with hosts";
    case Type::zones:
      return "list of domain names";
    case Type::servers:
      return "list of addresses with ports";
    case Type::filters:
      return "list of inet:port@host and unix:/path";
    case Type::sni:
      return "list of tables";
    case Type::listen:
      return "list of addresses";
  }
  return "";
}

std::string format_bound(const Key& key, std::int64_t bound) {
  if (key.type == Type::size) return format_size(static_cast<Octets>(bound));
  if (key.type == Type::time || key.type == Type::time_or_never || key.type == Type::times)
    return format_time(Duration{bound});
  return std::to_string(bound);
}

std::string format_range(const Key& key) {
  const bool bounded = key.most != std::numeric_limits<std::int64_t>::max();
  if (key.least == 0 && !bounded) return {};
  std::string text = key.zero_is_none ? ", 0 or " : ", ";
  text += format_bound(key, key.least);
  return text + (bounded ? " to " + format_bound(key, key.most) : " or more");
}

std::string format_choices(const Key& key) {
  std::string text;
  for (const auto choice : key.choices) {
    if (std::ranges::find(key.later, choice) != key.later.end()) continue;
    text += (text.empty() ? " " : ", ") + std::string{choice};
  }
  return text;
}

std::string format_defaults(const Key& key, File file) {
  if (key.defaults.empty()) return "; required";
  std::string text = "; default ";
  for (std::size_t i = 0; i < key.defaults.size(); ++i) {
    const Default& standard = key.defaults[i];
    const std::string value = default_text({.defaults = {{every, standard.text}}}, every, "NAME", "the machine's name");
    text += (i == 0 ? "" : ", ") + value;
    if (standard.where != every) text += " for " + format_scope(standard.where);
    if (standard.where == every && i != 0) text += " otherwise";
  }
  if (file == File::server && key.scope != every) text += "; " + format_scope(key.scope);
  return text;
}

/// Text lines of mdoc: a backslash is written \e, and a dot or an apostrophe that begins a line would be a request.
std::string to_mdoc(std::string_view text) {
  std::string out = text.starts_with('.') || text.starts_with('\'') ? "\\&" : "";
  for (const char c : text) out += c == '\\' ? "\\e" : std::string(1, c);
  return out;
}

std::string format_support(const Key& key) {
  const Scope ready = key.ready & key.scope;
  if (ready == key.scope) return {};
  if (ready == nowhere) return "Not supported yet: only the default is accepted.\n";
  return "It has an effect for " + format_scope(ready) + "; elsewhere only the default is accepted.\n";
}

void append_keys(std::string& out, File file) {
  std::string_view table;
  for (const Key& key : keys(file)) {
    const auto dot = key.name.find('.');
    const bool is_map = dot == std::string_view::npos && key.type == Type::lists;
    const std::string_view in = dot != std::string_view::npos ? key.name.substr(0, dot) : is_map ? key.name : "";
    const bool first = &key == &keys(file).front();
    if (first || in != table) {
      if (!first) out += ".El\n";
      out += in.empty() ? ".Ss Without a table\n" : ".Ss [" + std::string{in} + "]\n";
      out += ".Bl -tag -width 4n\n";
    }
    table = in;
    out += ".It Cm " + std::string{dot == std::string_view::npos ? key.name : key.name.substr(dot + 1)} + "\n";
    out += to_mdoc(key.doc) + "\n.br\n";
    std::string facts =
        std::string{type_name(key)} + format_choices(key) + format_range(key) + format_defaults(key, file);
    facts.front() = static_cast<char>(facts.front() - 'a' + 'A');  // all type names begin with a small letter
    out += to_mdoc(facts) + ".\n" + format_support(key);
  }
  out += ".El\n";
}

}  // namespace

std::string format_key_table() {
  std::string out = ".Sh KEYS OF PENNYPOST.TOML\n";
  append_keys(out, File::suite);
  out += ".Sh KEYS OF A SERVER FILE\n";
  append_keys(out, File::server);
  return out;
}

}  // namespace common::config
