#include "smtpd/folders/drop_folder.hpp"

#include <algorithm>
#include <system_error>

namespace smtpd::folders {

bool DropFolder::has_room(std::uint64_t declared) const {
  const auto quota = quota_.load();
  const auto used = this->used();
  return quota == 0 || (used < quota && declared <= quota - used);
}

void DropFolder::forget(std::uint64_t octets) {
  auto before = waiting_.load();
  // What another process queued was never expected.
  while (!waiting_.compare_exchange_weak(before, before - std::min(before, octets))) {
  }
}

void DropFolder::on_put(std::uint64_t octets, std::uint64_t file_octets) {
  there_ += file_octets;
  forget(octets);
}

void DropFolder::count() {
  std::uint64_t octets = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator at{path_, error}, end; !error && at != end; at.increment(error)) {
    // Hidden ones are ours, on their way.
    if (at->path().filename().native().starts_with('.')) continue;
    std::error_code gone;
    if (!at->is_regular_file(gone) || gone) continue;
    const auto size = at->file_size(gone);
    if (!gone) octets += size;
  }
  if (!error) there_ = octets;
}

}  // namespace smtpd::folders
