#include "smtpd/outbound/client_terms.hpp"

#include <algorithm>
#include <string_view>

namespace smtpd::outbound {

std::string_view name_of(Security security) {
  switch (security) {
    case Security::none:
      return "none";
    case Security::opportunistic:
      return "opportunistic";
    case Security::tls:
      return "tls";
    case Security::verify:
      return "verify";
  }
  return "";
}

Timeouts shortened(Timeouts timeouts, std::chrono::milliseconds most) {
  if (most.count() == 0) return timeouts;
  for (auto* each : {&timeouts.connect, &timeouts.greeting, &timeouts.hello, &timeouts.tls, &timeouts.auth,
                     &timeouts.mail, &timeouts.rcpt, &timeouts.data, &timeouts.block, &timeouts.end, &timeouts.quit}) {
    *each = std::min(*each, most);
  }
  return timeouts;
}

}  // namespace smtpd::outbound
