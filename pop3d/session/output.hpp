#pragma once

#include <string>

namespace pop3d {

/// Buffers for what is about to be written. A session borrows one while it is at work and returns it before it waits
/// for its peer's next command, so that an idle session owns none. They belong to their thread.
constexpr std::size_t output_due = 64 * 1024;  ///< so much is written before more is gathered

/// An empty string with room for `output_due` and what one step may add.
std::string borrow_output();
void return_output(std::string buffer);

}  // namespace pop3d
