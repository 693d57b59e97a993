#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// A TOML text as a tree of values that know their line. document.cpp alone knows toml++.
namespace common::config {

struct Node;
struct Member;
using List = std::vector<Node>;
using Table = std::vector<Member>;  ///< in the order of their lines
/// What no key takes: a fraction, a date, a time of day.
struct Foreign {
  std::string_view kind;
};

struct Node {
  std::variant<Foreign, bool, std::int64_t, std::string, List, Table> value;
  std::uint32_t line = 0;
};
struct Member {
  std::string name;
  std::uint32_t line = 0;  ///< of the name
  Node node;
};

/// Where a text stopped being TOML.
struct TomlError {
  std::uint32_t line = 0;
  std::string what;
};

std::expected<Table, TomlError> parse_document(std::string_view text);
/// What a person would call it: "a list", "a whole number".
std::string_view kind_of(const Node& node);
/// A string as TOML writes it, in double quotes.
std::string format_string(std::string_view text);

}  // namespace common::config
