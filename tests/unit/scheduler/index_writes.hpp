#pragma once

#include <cstddef>

namespace test {

/// From now on the disk has no room for what LMDB writes (`full`), or has it again.
void fill_index(bool full);
/// Writes that found none.
std::size_t failed_index_writes();

}  // namespace test
