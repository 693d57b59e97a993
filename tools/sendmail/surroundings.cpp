#include "tools/sendmail/surroundings.hpp"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>

#include "common/config/config.hpp"
#include "common/config/local.hpp"

namespace tools::sendmail {
namespace {

namespace config = common::config;

/// What other mail programs of the machine put behind a bare name: Debian's /etc/mailname, else the host's name.
std::string machine_name() {
  std::string name;
  std::ifstream{"/etc/mailname"} >> name;
  if (!name.empty() && common::canonical_domain(name)) return *common::canonical_domain(name);
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) return "localhost";
  const auto good = common::canonical_domain(host.data());
  return good ? *good : "localhost";
}

std::string date_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::localtime_r(&now, &parts);
  // The program never sets a locale: the names of days and months are RFC 5322's.
  std::string text(64, '\0');
  text.resize(std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S %z", &parts));
  return text;
}

std::string chance() {
  std::array<unsigned char, 12> octets{};
  std::string text;
  if (::getrandom(octets.data(), octets.size(), 0) < 0) octets.fill(static_cast<unsigned char>(::getpid()));
  for (const auto octet : octets) text += fmt::format("{:02x}", octet);
  return text;
}

/// The first part of the fifth field of passwd; "&" stands for the login name.
std::string name_of(const passwd& entry) {
  std::string name;
  for (const char* at = entry.pw_gecos; at != nullptr && *at != '\0' && *at != ','; ++at) {
    if (*at == '&') {
      std::string login = entry.pw_name;
      if (!login.empty() && login.front() >= 'a' && login.front() <= 'z')
        login.front() = static_cast<char>(login.front() - 'a' + 'A');
      name += login;
    } else {
      name += *at;
    }
  }
  return name;
}

}  // namespace

std::expected<Place, Refusal> find_place(const std::string& option) {
  const auto file = config::config_path(option);
  const bool unreadable = ::access(file.c_str(), R_OK) != 0;
  if (unreadable && !option.empty())
    return std::unexpected(Refusal{Status::usage, fmt::format("{}: {}", file.string(), std::strerror(errno))});
  const auto defaults = [&] { return config::parse(file, "", {}); };
  auto loaded = unreadable ? defaults() : config::load(file);
  if (!loaded) {
    std::ifstream in(file, std::ios::binary);
    const std::string suite(std::istreambuf_iterator<char>(in), {});
    loaded = config::parse(file, suite, {});
  }
  if (!loaded) loaded = defaults();
  if (!loaded) {
    return std::unexpected(Refusal{Status::try_again, config::format_mistake(loaded.error().front())});
  }
  Place place;
  place.socket = config::local_socket(loaded->config.suite);
  place.spool = config::local_spool(loaded->config.suite);
  if (const auto* server = config::local_server(loaded->config.servers)) {
    place.domain = server->default_domain;
    place.octets = server->messages.size;
  }
  return place;
}

std::expected<Author, Refusal> find_author(const Options& options, const Place& place) {
  const auto* const entry = ::getpwuid(::getuid());
  if (entry == nullptr)
    return std::unexpected(Refusal{Status::system, fmt::format("no user has the number {}", ::getuid())});
  Author author;
  const auto domain = place.domain.empty() ? machine_name() : place.domain;
  author.address = common::format_address({entry->pw_name, domain});
  author.full_name = options.full_name.empty() ? name_of(*entry) : options.full_name;
  author.date = date_now();
  author.message_id = fmt::format("{:x}.{}@{}", std::time(nullptr), chance(), domain);
  return author;
}

}  // namespace tools::sendmail
