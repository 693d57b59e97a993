#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// The configuration as the programs use it: checked, with defaults filled in. Each member is a key of
/// common/config/keys.hpp, the one table that parsing, `config check`, `config show` and the man page share.
namespace common::config {

using Octets = std::uint64_t;
using Duration = std::chrono::milliseconds;

struct Store {
  std::filesystem::path path;
  Octets map_size = 0;
  Octets reserve = 0;
  Duration keep_removed{};  ///< 0: for ever
  Duration keep_done{};     ///< 0: not at all
};
struct Run {
  std::string user;
  std::filesystem::path directory;
  std::int64_t threads = 0;
  std::string sandbox;  ///< auto, required, off
};
/// Mail of programs on this machine; common/config/local.hpp says what the words stand for.
struct Local {
  std::filesystem::path socket;  ///< a path, auto, off
  std::filesystem::path spool;   ///< the same
};
enum class LogLevel : std::uint8_t { error, warning, info, debug };
struct Log {
  LogLevel level = LogLevel::info;
  std::string target;
  std::string format;  ///< text, json
};
struct Dns {
  std::vector<std::string> servers;                       ///< "192.0.2.53:53", "[2001:db8::53]:53"
  std::map<std::string, std::vector<std::string>> hosts;  ///< lower-case A-labels; numeric
  std::vector<std::string> insecure;                      ///< lower-case A-labels, or "."
  Duration timeout{};
};
struct Metrics {
  std::string listen;
};
/// Table [auth] of pennypost.toml: how guessing of passwords is held back. [auth] of a server is `Auth`.
struct Guessing {
  std::int64_t failures = 0;  ///< 0: no limit, as in the next two
  std::int64_t address_failures = 0;
  std::int64_t account_failures = 0;
  Duration failure_window{};
  Duration delay_max{};
  Duration known_for{};
  std::vector<std::string> trusted;
};
/// Reverse-paths of ours for strangers' mail that we send on.
struct Srs {
  std::string domain;  ///< empty: that of the address which the mail was for
  std::filesystem::path key_file;
  Duration max_age{};
};
struct Suite {
  Store store;
  Run run;
  Local local;
  Log log;
  Dns dns;
  Metrics metrics;
  Guessing guessing;
  Srs srs;
};

enum class Kind : std::uint8_t { smtp, lmtp, pop3 };
/// `local` stands in no file: the server that smtpd makes for programs of this machine.
enum class Role : std::uint8_t { mx, submission, local };

/// One entry of `listen`.
struct Listen {
  std::string text;     ///< as written
  std::string address;  ///< numeric, without brackets; empty for a Unix socket
  std::uint16_t port = 0;
  std::string path;  ///< of a Unix socket
  bool tls = false;  ///< TLS from the first byte
};
/// One entry of `milters.use`.
struct FilterPlace {
  std::string text;     ///< "inet:8891@127.0.0.1", "unix:/run/filter.sock"
  std::string host;     ///< a name in lower-case A-labels, or a numeric address without brackets
  std::string address;  ///< numeric; empty for a name that is to be looked up
  std::uint16_t port = 0;
  std::string path;  ///< of a Unix socket
};
struct Sni {
  std::string name, certificate, key;
};
struct Tls {
  std::string certificate, key;
  bool required = false;
  std::string client_ca;
  std::vector<Sni> sni;
};
struct Connections {
  std::int64_t limit = 0;  ///< 0: none, as everywhere below
  std::int64_t per_address = 0;
  Duration idle_timeout{};
  Duration login_timeout{};  ///< pop3
  std::int64_t errors = 0;
  std::vector<std::string> proxy_protocol;
};
struct AccessList {
  std::string fallback;  ///< key `default`: allow, deny
  std::vector<std::string> except;
  bool authenticated = true;  ///< [relay] only
};
struct Auth {
  std::vector<std::string> mechanisms;
  bool anonymous = true;
  bool require_tls = true;
};
struct Messages {
  Octets size = 0;
  Octets session_size = 0;
  std::int64_t per_session = 0;
  std::int64_t recipients = 0;
  std::string ndr_copy;
  std::int64_t hops = 0;
  std::string bare_newline;  ///< reject, normalize
  std::string helo_check;    ///< off, syntax, fcrdns
  std::string pickup_dot_stuffed;
  Octets drop_quota = 0;
  Octets badmail_size = 0;
  bool reverse_dns = false;
  std::string masquerade;
};
struct Delivery {
  std::vector<Duration> retry;
  Duration delay_notice{}, expire{}, local_delay_notice{}, local_expire{}, local_retry{};
  std::int64_t jitter = 0;
};
struct Outbound {
  std::int64_t connections = 0, per_domain = 0, port = 0, messages_per_connection = 0;
  Duration idle_timeout{};
  std::vector<std::string> bind;
  std::string smart_host, smart_host_use, security, username, password_file;
  std::map<std::string, std::string> by_sender;  ///< domain, also "*." in front of one, to host
};
/// Filters that mail is shown to (LEGACY S97).
struct Milters {
  std::vector<std::string> use;  ///< as FilterPlace::text, in the order in which they are asked
  Duration connect_timeout{}, command_timeout{}, content_timeout{};
  std::string when_gone;  ///< accept, tempfail, reject
};
struct AccessLog {
  std::string path, format, rotate;
  std::vector<std::string> fields;
};
struct Pop3 {
  bool apop = false;
  Duration login_delay{};
  std::optional<Duration> expire;  ///< nullopt: never
  bool delete_on_retrieve = false;
};

/// One virtual server: a file in servers/.
struct Server {
  std::string id;  ///< the file's name without .toml
  std::filesystem::path file;
  Kind kind = Kind::smtp;
  std::string name;
  std::vector<Listen> listen;
  Role role = Role::mx;
  std::string hostname;
  std::string default_domain;
  std::filesystem::path home;  ///< empty: none
  Tls tls;
  Connections connections;
  AccessList access;
  AccessList relay;
  Auth auth;
  Messages messages;
  Milters milters;
  Delivery delivery;
  Outbound outbound;
  AccessLog access_log;
  Pop3 pop3;
};

struct Config {
  std::filesystem::path file;
  Suite suite;
  std::vector<Server> servers;  ///< in the order of their file names
};

/// Something wrong, or (`warning`) unwise, in a file.
struct Mistake {
  std::filesystem::path file;
  std::uint32_t line = 0;  ///< 0: the file as a whole
  std::string key;         ///< dotted, as in [tls] required -> tls.required
  std::string what;        ///< what is wrong, naming the value
  std::string remedy;      ///< what to write instead
  bool warning = false;
};
/// "FILE:LINE: KEY: what; remedy"
std::string format_mistake(const Mistake& mistake);

struct Loaded {
  Config config;
  std::vector<Mistake> warnings;
};

/// Reads `file` and servers/*.toml beside it; all mistakes at once, none of them fatal to finding the next.
std::expected<Loaded, std::vector<Mistake>> load(const std::filesystem::path& file);
/// The same from memory: `suite` and (file name, text) pairs; for tests and the fuzzer. Does no I/O.
std::expected<Loaded, std::vector<Mistake>> parse(
    const std::filesystem::path& file, std::string_view suite,
    const std::vector<std::pair<std::filesystem::path, std::string>>& servers);
/// What is in force, as TOML, one text per file; `defaults`: keys left at their default too.
std::string show_suite(const Config& config, bool defaults);
std::string show_server(const Server& server, bool defaults);

/// -c FILE, else $PENNYPOST_CONFIG, else /etc/pennypost/pennypost.toml.
std::filesystem::path config_path(const std::string& option);

}  // namespace common::config
