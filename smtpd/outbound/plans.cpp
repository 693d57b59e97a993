#include "smtpd/outbound/scheduler.hpp"

namespace smtpd::outbound {

Plans make_plans(const std::vector<common::config::Server>& servers) {
  Plans plans;
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
    plans.servers.emplace(server.id, std::move(plan));
  }
  return plans;
}

}  // namespace smtpd::outbound
