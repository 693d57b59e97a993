#pragma once

#include <chrono>
#include <memory>

#include "common/net/tls_context.hpp"

#include "smtpd/folders/drop_folder.hpp"
#include "smtpd/report/reporter.hpp"
#include "smtpd/session/terms.hpp"

namespace smtpd::milter {
struct FilterTerms;
}

namespace smtpd {

/// A virtual server as its sessions see it, and those who take its mail from files; a reload makes a new one, whoever
/// has begun keeps the one he began with.
struct VirtualServer {
  Terms terms;
  std::shared_ptr<const common::net::TlsContext> tls;  ///< null: no certificate
  std::shared_ptr<const milter::FilterTerms> filters;  ///< null: none
  report::Reporting reporting;
  std::chrono::milliseconds idle_timeout{};
  std::shared_ptr<folders::DropFolder> drop;  ///< null: it has no home
};

}  // namespace smtpd
