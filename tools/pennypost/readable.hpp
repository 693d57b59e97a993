#pragma once

#include <string>
#include <vector>

#include "common/config/config.hpp"

namespace tools {

/// What the configuration names outside of itself, tried: keys and certificates are read and compared, folders and the
/// [run] user looked up. As root, tried once more as the [run] user, who must read them at a reload (those are
/// warnings). Changes nothing.
std::vector<common::config::Mistake> check_surroundings(const common::config::Config& config);

}  // namespace tools
