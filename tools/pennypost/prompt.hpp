#pragma once

#include <string>

#include "common/secret.hpp"

namespace tools {

/// A new password for `whose`: one line of standard input (`from_stdin`), else asked twice on the terminal without
/// echo. Refused (usage): an empty one, two that differ, no terminal to ask on.
common::Secret read_new_password(const std::string& whose, bool from_stdin);

}  // namespace tools
