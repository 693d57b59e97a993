#pragma once

#include <string>
#include <string_view>

/// APOP (RFC 1939 7): who knows the shared secret proves it by MD5 over a stamp of the server's and the secret. The
/// secret is kept in the clear, and MD5 is what it is: inside TLS any other mechanism is better.
namespace common::auth {

/// "<octets that nobody can guess@hostname>": never the same twice. Empty when there is no randomness to be had.
std::string make_apop_stamp(std::string_view hostname);
/// What a client answers, in lower-case hexadecimal; empty where the system's policy has no MD5.
std::string apop_digest(std::string_view stamp, std::string_view secret);
/// True when `digest` is that of `stamp` and `secret`, in lower-case hexadecimal. An empty secret never is right. Takes
/// the same time whatever is wrong.
bool check_apop(std::string_view stamp, std::string_view secret, std::string_view digest);

}  // namespace common::auth
