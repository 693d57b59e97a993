#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/config/config.hpp"

#include "smtpd/folders/pickup_head.hpp"
#include "smtpd/protocol/data_reader.hpp"
#include "smtpd/routing/resolver.hpp"

namespace smtpd {

/// What the name in HELO or EHLO must stand up to: grammar; that it leads to the client's address.
enum class HeloCheck : std::uint8_t { off, syntax, fcrdns };

/// What a virtual server asks and allows: its configuration as a conversation needs it. 0: no limit.
struct Terms {
  std::string server;  ///< its id: the file's name
  std::string hostname;
  std::string default_domain;
  bool lmtp = false;        ///< the kind: RFC 2033
  bool submission = false;  ///< the role: people who authenticate
  bool local = false;       ///< programs of this machine, by their user: they may send to everybody
  bool has_certificate = false;
  bool tls_required = false;
  bool anonymous = true;  ///< mail without authentication
  bool passwords_need_tls = true;
  bool relay_authenticated = true;  ///< whoever authenticates may send to domains that are not ours
  bool turn_needs_tls = false;      ///< [outbound] security asks for TLS: mail is not handed over without
  /// The roles were reversed, and we are who asked (ATRN): mail for this domain alone. Empty: they were not.
  std::string only_domain;
  std::vector<std::string> mechanisms;
  HeloCheck helo_check = HeloCheck::syntax;
  bool reverse_dns = false;  ///< the client's verified name is looked up
  std::uint64_t message_octets = 0;
  std::uint64_t session_octets = 0;
  std::uint64_t messages_per_session = 0;
  std::uint64_t recipients = 0;
  std::uint64_t hops = 0;
  std::uint64_t errors = 0;
  BareNewline bare_newline = BareNewline::reject;
  folders::DotStuffed pickup_dots = folders::DotStuffed::unknown;
};

Terms make_terms(const common::config::Server& server);

enum class Client : std::uint8_t { stranger, authenticated };
/// Whether this client may send to domains that are not ours (S41).
routing::Relay relay_for(const Terms& terms, Client client);

}  // namespace smtpd
