#include "common/config/document.hpp"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <map>
#include <utility>

#include "common/escape.hpp"

namespace common::config {
namespace {

Node to_node(const toml::node& from);

Table to_table(const toml::table& from) {
  // toml++ keeps names in alphabetical order; people read from the top.
  std::multimap<std::uint32_t, Member> ordered;
  for (const auto& [key, value] : from) {
    const std::uint32_t line = key.source().begin.line;
    ordered.emplace(line, Member{std::string{key.str()}, line, to_node(value)});
  }
  Table table;
  table.reserve(ordered.size());
  for (auto& [line, member] : ordered) table.push_back(std::move(member));
  return table;
}

List to_list(const toml::array& from) {
  List list;
  list.reserve(from.size());
  for (const auto& value : from) list.push_back(to_node(value));
  return list;
}

Node to_node(const toml::node& from) {
  Node node;
  node.line = from.source().begin.line;
  switch (from.type()) {
    case toml::node_type::boolean:
      node.value = from.as_boolean()->get();
      break;
    case toml::node_type::integer:
      node.value = from.as_integer()->get();
      break;
    case toml::node_type::string:
      node.value = from.as_string()->get();
      break;
    case toml::node_type::array:
      node.value = to_list(*from.as_array());
      break;
    case toml::node_type::table:
      node.value = to_table(*from.as_table());
      break;
    case toml::node_type::floating_point:
      node.value = Foreign{"a fraction"};
      break;
    case toml::node_type::date:
      node.value = Foreign{"a date"};
      break;
    case toml::node_type::time:
      node.value = Foreign{"a time of day"};
      break;
    case toml::node_type::date_time:
      node.value = Foreign{"a date"};
      break;
    case toml::node_type::none:
      node.value = Foreign{"nothing"};
      break;
  }
  return node;
}

}  // namespace

std::expected<Table, TomlError> parse_document(std::string_view text) {
  try {
    return to_table(toml::parse(text));
  } catch (const toml::parse_error& error) {
    return std::unexpected(TomlError{error.source().begin.line, escape(error.description())});
  }
}

std::string_view kind_of(const Node& node) {
  constexpr std::string_view names[] = {"", "true or false", "a whole number", "a text", "a list", "a table"};
  if (const auto* foreign = std::get_if<Foreign>(&node.value)) return foreign->kind;
  return names[node.value.index()];
}

std::string format_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      fmt::format_to(std::back_inserter(out), "\\u{:04X}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out += '"';
}

}  // namespace common::config
