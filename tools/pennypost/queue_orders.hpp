#pragma once

#include "tools/pennypost/program.hpp"

namespace tools {

/// The commands that change the queue, into the group `queue`.
void add_queue_orders(CLI::App& group, Program& program);
/// In queue_etrn.cpp.
void add_queue_etrn(CLI::App& group, Program& program);

}  // namespace tools
