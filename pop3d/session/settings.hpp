#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "common/net/tls_context.hpp"
#include "pop3d/session/conversation.hpp"

namespace pop3d {

/// What one virtual server says to its sessions. Never changes: a reload makes new ones for new sessions.
struct Settings {
  std::string server;  ///< its id, for the log
  Rules rules;
  std::string default_domain;
  std::shared_ptr<const common::net::TlsContext> tls;  ///< null: no certificate
  std::chrono::milliseconds login_timeout{};
  std::chrono::milliseconds idle_timeout{};
};

}  // namespace pop3d
