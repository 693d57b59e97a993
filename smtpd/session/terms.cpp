#include "smtpd/session/terms.hpp"

namespace smtpd {

Terms make_terms(const common::config::Server& server) {
  // Counts are not negative: the configuration's table of ranges sees to it.
  const auto count = [](std::int64_t value) { return static_cast<std::uint64_t>(value); };
  Terms terms;
  // What programs of this machine send is that server's mail (make_local_server).
  terms.server = server.id.substr(0, server.id.find('/'));
  terms.hostname = server.hostname;
  terms.default_domain = server.default_domain;
  terms.lmtp = server.kind == common::config::Kind::lmtp;
  terms.submission = server.role == common::config::Role::submission;
  terms.local = server.role == common::config::Role::local;
  terms.has_certificate = !server.tls.certificate.empty();
  terms.tls_required = server.tls.required;
  terms.anonymous = server.auth.anonymous;
  terms.passwords_need_tls = server.auth.require_tls;
  terms.relay_authenticated = server.relay.authenticated;
  terms.turn_needs_tls = server.outbound.security == "tls" || server.outbound.security == "verify";
  terms.mechanisms = server.auth.mechanisms;
  terms.helo_check = server.messages.helo_check == "off"      ? HeloCheck::off
                     : server.messages.helo_check == "fcrdns" ? HeloCheck::fcrdns
                                                              : HeloCheck::syntax;
  terms.reverse_dns = server.messages.reverse_dns;
  terms.message_octets = server.messages.size;
  terms.session_octets = server.messages.session_size;
  terms.messages_per_session = count(server.messages.per_session);
  terms.recipients = count(server.messages.recipients);
  terms.hops = count(server.messages.hops);
  terms.errors = count(server.connections.errors);
  terms.bare_newline = server.messages.bare_newline == "normalize" ? BareNewline::normalize : BareNewline::reject;
  const auto& dots = server.messages.pickup_dot_stuffed;
  terms.pickup_dots = dots == "yes"  ? folders::DotStuffed::yes
                      : dots == "no" ? folders::DotStuffed::no
                                     : folders::DotStuffed::unknown;
  return terms;
}

routing::Relay relay_for(const Terms& terms, Client client) {
  const bool trusted = client == Client::authenticated && terms.relay_authenticated;
  return terms.local || trusted ? routing::Relay::allowed : routing::Relay::denied;
}

}  // namespace smtpd
