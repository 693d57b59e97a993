#pragma once

#include <expected>
#include <filesystem>

#include "tools/sendmail/body.hpp"
#include "tools/sendmail/envelope.hpp"

namespace tools::sendmail {

/// Leaves the message in the spool, from which smtpd takes it when it is there again: on stable storage when this
/// returns, under a name that nobody can guess, and not to be seen by smtpd before it is whole.
std::expected<void, Refusal> spool(const std::filesystem::path& folder, const Envelope& envelope, const Body& body);

}  // namespace tools::sendmail
