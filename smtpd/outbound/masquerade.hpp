#pragma once

#include <string>
#include <string_view>

#include "mailstore/directory.hpp"

/// The name under which our own people's mail goes out (S65). Asks the directory, changes nothing.
namespace smtpd::outbound {

/// The reverse-path that a next server is told. Where somebody of ours handed the message in, under an address in a
/// local or alias domain, `masquerade` takes the place of that domain; all else goes as it came. `masquerade` is that
/// of the server that took the message, as it is now; empty: none.
mailstore::Result<std::string> leaving_path(mailstore::DirectoryView& directory, const mailstore::Envelope& envelope,
                                            std::string_view masquerade);

}  // namespace smtpd::outbound
