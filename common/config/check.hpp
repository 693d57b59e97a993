#pragma once

#include <vector>

#include "common/config/read.hpp"

/// What keys have to do with one another, and servers with one another.
namespace common::config {

/// Told are mistakes and, with `warning` set, what is unwise.
void check_server(const ReadServer& read, std::vector<Mistake>& mistakes);
/// No two listeners want the same place.
void check_addresses(const std::vector<ReadServer>& servers, std::vector<Mistake>& mistakes);
/// No two servers share a home, or one would take the other's files.
void check_homes(const std::vector<ReadServer>& servers, std::vector<Mistake>& mistakes);

}  // namespace common::config
