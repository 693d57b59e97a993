#include "mailstore/logins.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "mailstore/failure.hpp"

namespace mailstore {
namespace {

off_t place_of(MailboxNumber mailbox) {
  return static_cast<off_t>(sizeof(std::uint64_t)) * std::to_underlying(mailbox);
}

}  // namespace

int LoginTimes::descriptor() {
  const std::lock_guard hold(mutex_);
  if (!file_) {
    auto& files = system_files();
    file_ = Descriptor(files, files.open(path_, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
    if (!file_) throw Failure(from_errno(path_));
  }
  return file_.get();
}

std::uint64_t LoginTimes::last(MailboxNumber mailbox) {
  std::uint64_t when = 0;
  const auto got = ::pread(descriptor(), &when, sizeof when, place_of(mailbox));
  if (got < 0) throw Failure(from_errno(path_));
  // Behind its end, or cut off by whatever: nothing is known.
  return got == sizeof when ? when : 0;
}

void LoginTimes::note(MailboxNumber mailbox, std::uint64_t when) {
  if (::pwrite(descriptor(), &when, sizeof when, place_of(mailbox)) != sizeof when) throw Failure(from_errno(path_));
}

}  // namespace mailstore
