#include "common/config/local.hpp"

#include <algorithm>

namespace common::config {
namespace {

std::filesystem::path place(const std::filesystem::path& chosen, std::filesystem::path automatic) {
  if (chosen == "off") return {};
  return chosen == "auto" ? automatic : chosen;
}

}  // namespace

std::filesystem::path local_socket(const Suite& suite) {
  return place(suite.local.socket, suite.run.directory / "submit");
}

// Mail that was taken into the spool is kept over a restart of the machine, which the run directory is not.
std::filesystem::path local_spool(const Suite& suite) {
  return place(suite.local.spool, suite.store.path.lexically_normal().parent_path() / "spool");
}

const Server* local_server(const std::vector<Server>& servers) {
  const auto found = std::ranges::find(servers, Kind::smtp, &Server::kind);
  return found == servers.end() ? nullptr : &*found;
}

}  // namespace common::config
