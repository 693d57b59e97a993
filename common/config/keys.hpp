#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/config/config.hpp"

/// The one table of configuration keys. Parsing, `config check`, `config show` and the man page read it; nothing else
/// says which key belongs where, what it takes and what it is by default.
namespace common::config {

enum class File : std::uint8_t { suite, server };

/// What a key takes.
enum class Type : std::uint8_t {
  boolean,
  count,          ///< whole number
  size,           ///< "50MB", octets
  time,           ///< "5m"
  time_or_never,  ///< the same, or "never"
  text,           ///< any text without control characters
  domain,         ///< a domain name, kept as lower-case A-labels
  mail_address,   ///< of a person: local part and domain
  host,           ///< name or numeric address of a server, with or without a port
  path,           ///< absolute, or one of `choices`
  choice,         ///< one of `choices`
  choices,        ///< a list of them, each once
  texts,          ///< a list of texts
  networks,       ///< a list of numeric addresses and networks
  addresses,      ///< a list of numeric addresses
  times,          ///< a list of times
  lists,          ///< a table of names with lists of texts
  hosts,          ///< a table of domain names with lists of numeric addresses
  routes,         ///< a table of domain names, also "*." in front of one, with a host each
  zones,          ///< a list of domain names, "." among them
  servers,        ///< a list of address:port
  filters,        ///< a list of inet:port@host, unix:/path
  sni,            ///< [[tls.sni]] tables
  listen,         ///< a list of addresses to listen on
};

/// The virtual servers that a key belongs to, as a set of bits; a suite-wide key has `every`.
using Scope = unsigned;
inline constexpr Scope nowhere = 0, mx = 1, submission = 2, lmtp = 4, pop3 = 8;
inline constexpr Scope smtp = mx | submission, mail_in = smtp | lmtp, every = mail_in | pop3;
Scope scope_of(Kind kind, Role role);
/// "kind smtp", "kind smtp, role submission; kind pop3".
std::string format_scope(Scope scope);

/// Where a key's value lives in Config. `monostate`: known, but no part of Config has it yet.
using Hosts = std::map<std::string, std::vector<std::string>>;
using Routes = std::map<std::string, std::string>;
using Slot =
    std::variant<std::monostate, bool*, std::int64_t*, Octets*, Duration*, std::string*, std::filesystem::path*,
                 LogLevel*, Kind*, Role*, std::vector<std::string>*, std::optional<Duration>*, std::vector<Duration>*,
                 Hosts*, Routes*, std::vector<Sni>*, std::vector<Listen>*>;

/// A default, as it would be written in the file. `{id}` stands for the file's name without .toml, `{host}` for the
/// machine's name.
struct Default {
  Scope where = every;
  std::string_view text;
};

struct Key {
  std::string_view name;  ///< dotted: [tls] required is tls.required
  Scope scope = every;    ///< where the key may stand
  Scope ready = every;    ///< where it has an effect yet; elsewhere in `scope` it is accepted with its default alone
  Type type = Type::text;
  std::vector<Default> defaults;          ///< the first that matches; none: the key is required
  std::vector<std::string_view> choices;  ///< for an enumeration in the order of its enumerators
  std::vector<std::string_view> later;    ///< those of them that do not work yet
  std::int64_t least = 0;                 ///< counts, octets or milliseconds
  std::int64_t most = std::numeric_limits<std::int64_t>::max();
  bool zero_is_none = false;  ///< 0 is allowed whatever `least` says
  bool may_be_empty = true;   ///< texts, paths, lists
  Slot (*suite)(Suite&) = nullptr;
  Slot (*server)(Server&) = nullptr;
  std::string_view doc;  ///< one sentence
};

/// The halves of the table: keys_suite.cpp for pennypost.toml, keys_server.cpp for servers/*.toml.
std::span<const Key> suite_keys();
std::span<const Key> server_keys();
/// In the order of the files that people write: the keys of one table stand together, those without a table first.
std::span<const Key> keys(File file);
/// Null if the file has no such key.
const Key* find_key(File file, std::string_view name);
/// True for the name of a table that keys stand in ("tls", "log"), itself no key.
bool is_table(File file, std::string_view name);
/// The known key or table that a person may have meant, empty if nothing is near.
std::string nearest_key(File file, Scope scope, std::string_view name);
Slot slot_of(const Key& key, Suite& suite);
Slot slot_of(const Key& key, Server& server);
/// The default for servers of `scope` as TOML, placeholders filled in (`host`: the machine's name); empty for a
/// required key.
std::string default_text(const Key& key, Scope scope, std::string_view id, std::string_view host);

/// The whole table for pennypost.toml(5) in mdoc(7): a section for each of the two files, a subsection for each table,
/// a tagged list of keys.
std::string format_key_table();

}  // namespace common::config
