#pragma once

#include <string>
#include <string_view>

#include "mailstore/directory.hpp"

namespace mailstore {

/// What a log-in name comes down to, whether anybody has it or not: completed with `default_domain`, an alias domain
/// replaced by the one that it stands for, canonical. All names of one mailbox have one key, and a name that nobody has
/// is treated as one that somebody has. A name that is no address is its own key.
std::string account_key(DirectoryView& directory, std::string_view name, std::string_view default_domain);

}  // namespace mailstore
