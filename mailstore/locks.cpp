#include "mailstore/locks.hpp"

#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "mailstore/failure.hpp"

namespace mailstore {
namespace {

int lock_call(int descriptor, int command, short type, std::uint64_t offset, std::uint64_t length) {
  struct flock region{};
  region.l_type = type;
  region.l_whence = SEEK_SET;
  region.l_start = static_cast<off_t>(offset);
  region.l_len = static_cast<off_t>(length);
  int result = 0;
  do {
    result = fcntl(descriptor, command, &region);
  } while (result != 0 && errno == EINTR);
  return result;
}

Descriptor open_lock_file(const std::string& path) {
  Descriptor file(system_files(), system_files().open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (!file) throw Failure(from_errno(path));
  return file;
}

}  // namespace

bool try_lock(int descriptor, std::uint64_t offset, std::uint64_t length) {
  if (lock_call(descriptor, F_OFD_SETLK, F_WRLCK, offset, length) == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  throw Failure(from_errno("lock"));
}

void wait_lock(int descriptor, std::uint64_t offset, std::uint64_t length) {
  if (lock_call(descriptor, F_OFD_SETLKW, F_WRLCK, offset, length) != 0) throw Failure(from_errno("lock"));
}

void unlock(int descriptor, std::uint64_t offset, std::uint64_t length) {
  lock_call(descriptor, F_OFD_SETLK, F_UNLCK, offset, length);
}

MaildropLocks::MaildropLocks(std::string folder) : folder_(std::move(folder)) {}

bool MaildropLocks::take(MailboxNumber mailbox) {
  const auto number = std::to_underlying(mailbox);
  auto& shard = shards_[number % count];
  const std::lock_guard hold(shard.mutex);
  if (shard.held.contains(number)) return false;
  if (!shard.file) {
    constexpr char digits[] = "0123456789abcdef";
    const auto which = number % count;
    shard.file = open_lock_file(folder_ + "/maildrop." + digits[which / 16] + digits[which % 16]);
  }
  if (!try_lock(shard.file.get(), number / count, 1)) return false;
  shard.held.insert(number);
  return true;
}

void MaildropLocks::release(MailboxNumber mailbox) {
  const auto number = std::to_underlying(mailbox);
  auto& shard = shards_[number % count];
  const std::lock_guard hold(shard.mutex);
  if (shard.held.erase(number) != 0) unlock(shard.file.get(), number / count, 1);
}

Turnstile::Turnstile(const std::string& path) : file_(open_lock_file(path)) {}

Turnstile::Pass::Pass(Turnstile& turnstile) : turnstile_(turnstile) {
  turnstile_.mutex_.lock();
  try {
    wait_lock(turnstile_.file_.get(), 0, 1);
  } catch (...) {
    turnstile_.mutex_.unlock();
    throw;
  }
}

Turnstile::Pass::~Pass() {
  unlock(turnstile_.file_.get(), 0, 1);
  turnstile_.mutex_.unlock();
}

Presence::Presence(const std::string& folder, Kind kind) : file_(open_lock_file(folder + "/presence")) {
  const short type = kind == Kind::alone ? F_WRLCK : F_RDLCK;
  if (lock_call(file_.get(), F_OFD_SETLK, type, 0, 1) == 0) return;
  if (errno != EAGAIN && errno != EACCES) throw Failure(from_errno("lock"));
  if (kind == Kind::alone) {
    throw Failure(Errc::conflict,
                  "other processes have the store open; stop smtpd, pop3d and whatever else uses it, then try again");
  }
  throw Failure(Errc::conflict, "the store is being rebuilt or repaired; start again when that is done");
}

CareLock::CareLock(const std::string& folder) : file_(open_lock_file(folder + "/care")) {
  if (!try_lock(file_.get(), 0, 1)) throw Failure(Errc::conflict, "another compaction of this store is at work");
}

std::optional<Descriptor> take_scheduler_lock(const std::string& folder) {
  auto file = open_lock_file(folder + "/scheduler");
  if (!try_lock(file.get(), 0, 1)) return std::nullopt;
  return file;
}

unsigned WriterSlot::take() {
  if (slot_) return *slot_;
  if (!file_) file_ = open_lock_file(folder_ + "/writers");
  for (unsigned slot = 0; slot < count; ++slot) {
    if (!try_lock(file_.get(), slot, 1)) continue;
    slot_ = slot;
    return slot;
  }
  throw Failure(Errc::unavailable, "sixteen processes write to this store already; stop one and try again");
}

}  // namespace mailstore
