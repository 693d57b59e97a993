#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/config/config.hpp"

/// Shorthands for configurations from memory.
namespace samples {

using common::config::Loaded;
using common::config::Mistake;
using Outcome = std::expected<Loaded, std::vector<Mistake>>;

inline Outcome suite(std::string_view text) {
  return common::config::parse("/etc/p/pennypost.toml", text, {});
}
inline Outcome server(const std::string& text, const std::string& name = "mx") {
  return common::config::parse("/etc/p/pennypost.toml", "", {{"/etc/p/servers/" + name + ".toml", text}});
}
inline std::string all(const std::vector<Mistake>& mistakes) {
  std::string text;
  for (const auto& mistake : mistakes) text += format_mistake(mistake) + "\n";
  return text;
}
inline std::string errors(const Outcome& outcome) {
  return outcome ? "" : all(outcome.error());
}

/// The least that a server file must say.
inline const std::string smtp = "kind = \"smtp\"\nlisten = [\"127.0.0.1:2525\"]\n";
inline const std::string submission = smtp + "role = \"submission\"\n";
inline const std::string pop3 = "kind = \"pop3\"\nlisten = [\"127.0.0.1:2110\"]\n";

}  // namespace samples
