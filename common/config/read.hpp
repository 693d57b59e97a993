#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/config/config.hpp"
#include "common/config/keys.hpp"

/// One file's text to the values of its keys. What keys have to do with one another is check.hpp's.
namespace common::config {

/// Where the keys of one file stood.
struct Places {
  std::map<std::string, std::uint32_t, std::less<>> lines;
  std::set<std::string, std::less<>> broken;  ///< keys that have a mistake already
  std::vector<std::uint32_t> listen;          ///< the line of each entry of Server::listen
  /// 0 for a key that is not in the file.
  std::uint32_t line(std::string_view key) const;
  bool sound(std::string_view key) const { return !broken.contains(key); }
};

struct ReadServer {
  Server server;
  Places places;
};

/// What is in force when the file is empty. `id`: the server file's name without .toml.
Suite default_suite();
Server default_server(Scope scope, std::string_view id);

/// Mistakes are put behind those in `mistakes`; a key with a mistake keeps its default.
Suite read_suite(const std::filesystem::path& file, std::string_view text, std::vector<Mistake>& mistakes);
ReadServer read_server(const std::filesystem::path& file, std::string_view text, std::vector<Mistake>& mistakes);

}  // namespace common::config
