#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "common/auth/sasl.hpp"

/// CRAM-MD5 (RFC 2195): who knows the shared secret, the one that APOP has, proves it by HMAC-MD5 over a challenge of
/// the server's. The secret is kept in the clear and the server proves nothing; ODMR (RFC 2645 6) and old clients know
/// no better.
///
/// Our own and not libgsasl's: that one compares digests in a time that depends on where they differ, and its challenge
/// names localhost.
namespace common::auth {

/// What a client answers behind its name, in lower-case hexadecimal; empty where the system's policy has no MD5.
std::string cram_md5_digest(std::string_view challenge, std::string_view secret);
/// The server's side; the challenge names `channel.hostname`. Null: there is no randomness to be had.
std::unique_ptr<Sasl> start_cram_md5(const Channel& channel);

}  // namespace common::auth
