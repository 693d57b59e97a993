#pragma once

#include <string>
#include <vector>

#include "common/config/config.hpp"

namespace tools {

/// What the configuration names outside of itself, tried: keys and certificates are read and compared, folders and the
/// [run] user looked up. Then, as the [run] user (root becomes it, in a child; somebody else does without): whether the
/// store, run directory and log can be written, and, as warnings, what a reload needs: keys, configuration and the
/// folders of Unix sockets. Changes nothing.
std::vector<common::config::Mistake> check_surroundings(const common::config::Config& config);

}  // namespace tools
