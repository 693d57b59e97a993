#include "common/daemon/sandbox.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <system_error>
#include <utility>

#include "common/config/local.hpp"
#include "common/daemon/instrumented.hpp"
#include "common/daemon/system_calls.hpp"
#include "common/log.hpp"

namespace common::daemon {
namespace {

using std::filesystem::path;

/// A path of the configuration. `key` names it for a person.
struct Need {
  std::string key;
  path where;
  Access access = Access::read;
};

// What libraries read of the system, some of it long after the start: a resolver looks at these files again when they
// change, the C++ library and a name service module are loaded when they are first wanted. All of /etc, since an editor
// and a DHCP client replace files; what is secret there is kept from our user by its mode.
constexpr auto of_system = std::to_array<const char*>({
    "/etc",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/lib",
    "/lib64",
    "/usr/share/zoneinfo",
    "/usr/share/dns",
    "/usr/share/ca-certificates",
    "/usr/share/locale",
    "/var/lib/unbound",
    "/run/systemd/resolve",
    "/dev/urandom",
    "/dev/random",
    "/proc/self",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/net/core/somaxconn",
    "/sys/devices/system/cpu",
});
// The program that names the addresses of a sanitizer's report, and what that looks at.
constexpr auto of_sanitizers = std::to_array<const char*>({"/usr", "/bin", "/proc"});

path real(const path& where) {
  std::error_code error;
  auto found = std::filesystem::canonical(where, error);
  return error ? path{} : found;
}

/// The folder of `file`, and when it is a link the folders of what it leads to, step by step: an ACME client changes
/// the last of them.
std::vector<path> folders_of(path file) {
  std::vector<path> folders;
  for (int step = 0; step < 16; ++step) {
    auto folder = file.parent_path();
    std::error_code error;
    const auto target = std::filesystem::read_symlink(file, error);
    folders.push_back(folder);
    if (error) break;
    file = target.is_absolute() ? target : folder / target;
  }
  return folders;
}

void add_file(std::vector<Need>& needs, const std::string& key, const path& file, Access access) {
  if (file.empty()) return;
  for (const auto& folder : folders_of(file)) {
    // A file right in the root: the file itself, or everything would be within reach.
    const bool everything = folder == folder.root_path() || real(folder) == "/";
    needs.push_back({key, everything ? file : folder, access});
  }
}

void add_server(std::vector<Need>& needs, const config::Server& server) {
  const auto key = [&server](const char* name) { return fmt::format("{}: {}", server.file.string(), name); };
  add_file(needs, key("the file"), server.file, Access::read);
  add_file(needs, key("tls.certificate"), server.tls.certificate, Access::read);
  add_file(needs, key("tls.key"), server.tls.key, Access::read);
  add_file(needs, key("tls.client_ca"), server.tls.client_ca, Access::read);
  for (const auto& sni : server.tls.sni) {
    add_file(needs, key("tls.sni"), sni.certificate, Access::read);
    add_file(needs, key("tls.sni"), sni.key, Access::read);
  }
  for (const auto& listen : server.listen) add_file(needs, key("listen"), listen.path, Access::files);
  add_file(needs, key("outbound.password_file"), server.outbound.password_file, Access::read);
  add_file(needs, key("access_log.path"), server.access_log.path, Access::files);
  if (!server.home.empty()) needs.push_back({key("home"), server.home, Access::folders});
}

std::vector<Need> needs_of(const config::Config& config, const Serves& serves) {
  std::vector<Need> needs;
  const auto& suite = config.suite;
  needs.push_back({"store.path", suite.store.path, Access::folders});
  needs.push_back({"run.directory", suite.run.directory, Access::files});
  if (suite.log.target.starts_with('/')) add_file(needs, "log.target", suite.log.target, Access::files);
  add_file(needs, "the configuration", config.file, Access::read);
  needs.push_back({"the configuration", config.file.parent_path() / "servers", Access::read});
  if (serves(config::Kind::smtp)) add_file(needs, "srs.key_file", suite.srs.key_file, Access::read);
  for (const auto& server : config.servers) {
    if (serves(server.kind)) add_server(needs, server);
  }
  if (serves(config::Kind::smtp)) {
    add_file(needs, "local.socket", config::local_socket(suite), Access::files);
    if (const auto spool = config::local_spool(suite); !spool.empty())
      needs.push_back({"local.spool", spool, Access::files});
  }
  return needs;
}

bool lies_in(const path& where, const path& folder) {
  return std::mismatch(folder.begin(), folder.end(), where.begin(), where.end()).first == folder.end();
}

}  // namespace

std::expected<Sandbox, std::string> Sandbox::enter(const config::Config& config, const Serves& serves) {
  Sandbox sandbox;
  sandbox.serves_ = serves;
  const auto& wish = config.suite.run.sandbox;
  if (wish == "off") {
    sandbox.off_ = true;
    return sandbox;
  }
  std::vector<Allowed> reach;
  for (const auto& need : needs_of(config, serves)) {
    if (auto place = real(need.where); !place.empty()) reach.push_back({std::move(place), need.access});
  }
  for (const char* const place : of_system) reach.push_back({real(place), Access::read});
  reach.push_back({"/dev/null", Access::files});
  if (instrumented) {
    for (const char* const place : of_sanitizers) reach.push_back({real(place), Access::read});
  }
  std::erase_if(reach, [](const Allowed& each) { return each.path.empty(); });

  sandbox.landlock_ = landlock_version();
  // Landlock first: its own calls are not on the list.
  if (auto closed = restrict_paths(reach, sandbox.landlock_); closed) {
    sandbox.reach_ = std::move(reach);
  } else {
    sandbox.missing_.push_back(std::move(closed.error()));
  }
  if (auto closed = restrict_calls(); !closed) sandbox.missing_.push_back(std::move(closed.error()));
  if (wish == "required" && !sandbox.missing_.empty()) {
    return std::unexpected(fmt::format(
        R"(run.sandbox = "required", and {}; run on a kernel with Landlock and seccomp (Linux 5.13, with "landlock" in lsm=), or write "auto")",
        fmt::join(sandbox.missing_, "; and ")));
  }
  return sandbox;
}

void Sandbox::tell() const {
  if (off_) {
    log::warning("sandbox-off", {{"why", R"(run.sandbox = "off")"}});
    return;
  }
  for (const auto& why : missing_) log::warning("sandbox-partly", {{"missing", why}});
  if (missing_.empty()) log::info("sandbox", {{"landlock", static_cast<std::int64_t>(landlock_)}});
}

std::vector<std::string> Sandbox::outside(const config::Config& next) const {
  std::vector<std::string> findings;
  if (reach_.empty()) return findings;
  for (const auto& need : needs_of(next, serves_)) {
    const auto where = real(need.where);
    // What is not there is somebody else's to complain of.
    const bool reached = where.empty() || std::ranges::any_of(reach_, [&](const Allowed& each) {
                           return each.access >= need.access && lies_in(where, each.path);
                         });
    if (reached) continue;
    auto finding = fmt::format("{}: {} lies outside of what the daemon shut itself in with; needs a restart", need.key,
                               need.where.string());
    if (std::ranges::find(findings, finding) == findings.end()) findings.push_back(std::move(finding));
  }
  return findings;
}

}  // namespace common::daemon
