#pragma once

#include <memory>

#include "common/auth/sasl.hpp"

namespace common::auth {

/// SCRAM-SHA-256, or with `plus` SCRAM-SHA-256-PLUS, whose channel must carry binding data.
std::unique_ptr<Sasl> start_scram(const Channel& channel, bool plus);

}  // namespace common::auth
