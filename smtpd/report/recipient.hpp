#pragma once

#include <string>
#include <string_view>

#include "mailstore/directory.hpp"
#include "mailstore/types.hpp"

#include "smtpd/routing/resolver.hpp"

namespace smtpd::report {

/// Adds who gets a message that we write ourselves, found as any recipient's way is. False: nobody is there.
mailstore::Result<bool> add_recipient(mailstore::DirectoryView& directory, const std::string& text,
                                      std::string_view default_domain, const routing::Returns& returns,
                                      mailstore::Envelope& envelope);

}  // namespace smtpd::report
