#pragma once

#include <string>

#include "mailstore/types.hpp"

namespace mailstore {

enum class IndexCheck { quick, whole };

/// Looks at data.mdb without mapping it, for LMDB dies on a truncated map. Quick: the meta pages, the page of tables
/// and the root of each, and that the file is as long as they say; if it is shorter, or `whole`: every page that can be
/// reached is there and is what its parent takes it for. Other processes may write meanwhile. Must run before the
/// environment is opened in this process (closing the file drops LMDB's locks).
Result<void> check_index_file(const std::string& path, IndexCheck how);

}  // namespace mailstore
