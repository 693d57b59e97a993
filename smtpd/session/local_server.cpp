#include "smtpd/session/local_server.hpp"

#include "common/config/local.hpp"

namespace smtpd {

std::optional<common::config::Server> make_local_server(const common::config::Config& config) {
  const auto* first = common::config::local_server(config.servers);
  if (first == nullptr) return std::nullopt;
  auto server = *first;
  server.id += "/local";
  server.role = common::config::Role::local;
  server.listen.clear();
  if (const auto socket = common::config::local_socket(config.suite); !socket.empty()) {
    common::config::Listen listen;
    listen.text = "unix:" + socket.native();
    listen.path = socket;
    server.listen.push_back(std::move(listen));
  }
  server.tls = {};
  server.auth = {.mechanisms = {}, .anonymous = true, .require_tls = true};
  server.access = {.fallback = "allow", .except = {}};
  // A program sends what it has to send: it knows no second connection and has no reverse name.
  server.messages.session_size = 0;
  server.messages.per_session = 0;
  server.messages.recipients = 0;
  server.messages.helo_check = "off";
  server.messages.reverse_dns = false;
  server.messages.bare_newline = "normalize";
  return server;
}

}  // namespace smtpd
