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
                                             const std::shared_ptr<const routing::Srs>& srs, const DropFolders& drops) {
  Plans plans;
  for (const auto& server : servers) {
    if (plans.first.empty()) plans.first = server.id;
    ServerPlan plan;
    plan.reporting = report::make_reporting(server, srs);
    for (const auto wait : server.delivery.retry)
      plan.schedule.waits.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(wait));
    plan.schedule.delay_notice = server.delivery.delay_notice;
    plan.schedule.expire = server.delivery.expire;
    plan.schedule.jitter = static_cast<std::uint32_t>(server.delivery.jitter);
    plan.local = plan.schedule;
    plan.local.waits = {server.delivery.local_retry};
    plan.local.delay_notice = server.delivery.local_delay_notice;
    plan.local.expire = server.delivery.local_expire;
    for (const auto* each : {&plan.schedule, &plan.local}) {
      const auto notice = each->delay_notice;
      if (notice.count() != 0 && (plans.least_notice.count() == 0 || notice < plans.least_notice))
        plans.least_notice = notice;
      if (plans.least_expire.count() == 0 || each->expire < plans.least_expire) plans.least_expire = each->expire;
    }
    plan.outbound = server.outbound;
    if (const auto drop = drops.find(server.id); drop != drops.end()) plan.drop = drop->second;
    if (!server.outbound.username.empty() && !server.outbound.password_file.empty()) {
      auto password = read_password(server.outbound.password_file);
      if (!password) return std::unexpected(std::move(password.error()));
      plan.password = std::move(*password);
    }
    plans.servers.emplace(server.id, std::move(plan));
  }
  return plans;
}

}  // namespace smtpd::outbound
