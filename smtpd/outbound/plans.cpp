#include <fmt/format.h>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "smtpd/outbound/scheduler.hpp"

namespace smtpd::outbound {
namespace {

/// The first line.
std::expected<std::string, std::string> read_password(const std::string& path) {
  std::ifstream file{path};
  std::string line;
  if (!file) return std::unexpected(fmt::format("outbound.password_file {}: {}", path, std::strerror(errno)));
  if (!std::getline(file, line) || line.empty())
    return std::unexpected(fmt::format("outbound.password_file {}: its first line, the password, is empty", path));
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

}  // namespace

std::expected<Plans, std::string> make_plans(const std::vector<common::config::Server>& servers,
                                             const DropFolders& drops) {
  Plans plans;
  bool unlimited = false;
  for (const auto& server : servers) {
    if (plans.first.empty()) plans.first = server.id;
    ServerPlan plan;
    plan.reporting = {server.id, server.hostname, server.default_domain, server.messages.ndr_copy};
    for (const auto wait : server.delivery.retry)
      plan.schedule.waits.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(wait));
    plan.schedule.delay_notice = server.delivery.delay_notice;
    plan.schedule.expire = server.delivery.expire;
    plan.schedule.jitter = static_cast<std::uint32_t>(server.delivery.jitter);
    plan.outbound = server.outbound;
    if (const auto drop = drops.find(server.id); drop != drops.end()) plan.drop = drop->second;
    if (!server.outbound.username.empty() && !server.outbound.password_file.empty()) {
      auto password = read_password(server.outbound.password_file);
      if (!password) return std::unexpected(std::move(password.error()));
      plan.password = std::move(*password);
    }
    plans.servers.emplace(server.id, std::move(plan));
    const auto connections = static_cast<std::uint32_t>(server.outbound.connections);
    unlimited = unlimited || connections == 0;
    plans.connections = std::max(plans.connections, connections);
  }
  if (unlimited) plans.connections = 0;
  return plans;
}

}  // namespace smtpd::outbound
