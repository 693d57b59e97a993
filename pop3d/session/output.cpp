#include "pop3d/session/output.hpp"

#include <utility>
#include <vector>

namespace pop3d {
namespace {

// A step adds a small message or 256 lines of a listing at most.
constexpr std::size_t capacity = output_due + 32 * 1024;
constexpr std::size_t most_kept = 8;

thread_local std::vector<std::string> kept;

}  // namespace

std::string borrow_output() {
  if (kept.empty()) {
    std::string fresh;
    fresh.reserve(capacity);
    return fresh;
  }
  auto buffer = std::move(kept.back());
  kept.pop_back();
  return buffer;
}

void return_output(std::string buffer) {
  if (kept.size() >= most_kept || buffer.capacity() < capacity || buffer.capacity() > 2 * capacity) return;
  buffer.clear();
  kept.push_back(std::move(buffer));
}

}  // namespace pop3d
