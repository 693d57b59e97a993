#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "common/config/check.hpp"
#include "common/config/config.hpp"
#include "common/config/read.hpp"
#include "common/escape.hpp"

namespace common::config {
namespace {

namespace fs = std::filesystem;
using Mistakes = std::vector<Mistake>;

constexpr std::size_t file_limit = 1 << 20;

/// The whole of a file; nullopt after telling why not.
std::optional<std::string> read_file(const fs::path& file, std::string_view remedy, Mistakes& mistakes) {
  std::error_code error;
  std::string text;
  if (fs::is_directory(file, error)) {
    error = std::make_error_code(std::errc::is_a_directory);
  } else {
    errno = 0;
    std::ifstream in{file, std::ios::binary};
    text.resize(file_limit + 1);
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(in.gcount()));
    error = in.bad() || !in.eof() ? std::error_code{errno, std::generic_category()} : std::error_code{};
    if (text.size() > file_limit) {
      mistakes.push_back({file, 0, "", "the file is larger than 1 MB", "make it smaller"});
      return std::nullopt;
    }
  }
  if (!error) return text;
  mistakes.push_back({file, 0, "", "cannot be read: " + error.message(), std::string{remedy}});
  return std::nullopt;
}

std::vector<fs::path> server_files(const fs::path& folder, Mistakes& mistakes) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator at{folder, error}, end; !error && at != end; at.increment(error)) {
    const fs::path& file = at->path();
    // Editors leave hidden files behind.
    if (file.extension() == ".toml" && !file.filename().native().starts_with('.')) files.push_back(file);
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    mistakes.push_back({folder, 0, "", "cannot be read: " + error.message(), "let this user read the folder"});
  }
  std::ranges::sort(files);
  return files;
}

/// Warnings apart from errors, each in the order of file and line.
std::pair<Mistakes, Mistakes> sort_out(Mistakes all) {
  std::multimap<std::pair<fs::path, std::uint32_t>, Mistake> ordered;
  for (Mistake& mistake : all) {
    const std::pair place{mistake.file, mistake.line};
    ordered.emplace(place, std::move(mistake));
  }
  Mistakes warnings;
  Mistakes errors;
  for (auto& [place, mistake] : ordered) (mistake.warning ? warnings : errors).push_back(std::move(mistake));
  return {std::move(warnings), std::move(errors)};
}

}  // namespace

std::string format_mistake(const Mistake& mistake) {
  std::string text = escape(mistake.file.native(), 4096);
  if (mistake.line != 0) text += fmt::format(":{}", mistake.line);
  if (!mistake.key.empty()) text += ": " + mistake.key;
  text += ": " + mistake.what;
  if (!mistake.remedy.empty()) text += "; " + mistake.remedy;
  return text;
}

std::expected<Loaded, Mistakes> parse(const fs::path& file, std::string_view suite,
                                      const std::vector<std::pair<fs::path, std::string>>& servers) {
  Mistakes mistakes;
  Loaded loaded;
  loaded.config.file = file;
  loaded.config.suite = read_suite(file, suite, mistakes);
  std::vector<ReadServer> read;
  for (const auto& [name, text] : servers) {
    read.push_back(read_server(name, text, mistakes));
    check_server(read.back(), mistakes);
  }
  check_addresses(read, mistakes);
  check_homes(read, mistakes);

  auto [warnings, errors] = sort_out(std::move(mistakes));
  if (!errors.empty()) return std::unexpected(std::move(errors));
  loaded.warnings = std::move(warnings);
  for (ReadServer& each : read) loaded.config.servers.push_back(std::move(each.server));
  return loaded;
}

std::expected<Loaded, Mistakes> load(const fs::path& file) {
  Mistakes mistakes;
  const auto suite =
      read_file(file, "name another with -c FILE or $PENNYPOST_CONFIG, or let this user read it", mistakes);
  const fs::path folder = file.parent_path() / "servers";
  std::vector<std::pair<fs::path, std::string>> servers;
  for (const fs::path& each : server_files(folder, mistakes)) {
    if (auto text = read_file(each, "let this user read it", mistakes)) servers.emplace_back(each, std::move(*text));
  }
  if (servers.empty() && mistakes.empty()) {
    mistakes.push_back(
        {folder, 0, "", "there is no virtual server", "write a file for each, as mx.toml and pop3.toml", true});
  }

  auto loaded = parse(file, suite.value_or(""), servers);
  if (!loaded) std::ranges::move(loaded.error(), std::back_inserter(mistakes));
  auto [warnings, errors] = sort_out(std::move(mistakes));
  if (!errors.empty()) return std::unexpected(std::move(errors));
  std::ranges::move(warnings, std::back_inserter(loaded->warnings));
  return loaded;
}

fs::path config_path(const std::string& option) {
  if (!option.empty()) return fs::absolute(option);
  const char* named = std::getenv("PENNYPOST_CONFIG");
  if (named != nullptr && *named != '\0') return fs::absolute(named);
  return "/etc/pennypost/pennypost.toml";
}

}  // namespace common::config
