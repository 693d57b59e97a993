#include "mailstore/segment.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "mailstore/failure.hpp"
#include "mailstore/locks.hpp"

namespace mailstore {

std::string segment_path(const std::string& folder, std::uint64_t number) {
  constexpr char digits[] = "0123456789abcdef";
  std::string name(16, '0');
  for (std::size_t i = 0; i < 16; ++i) name[15 - i] = digits[(number >> (4 * i)) & 15U];
  return folder + "/" + name + ".seg";
}

std::size_t OpenMessage::Source::read(std::uint64_t offset, std::span<char> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = ::pread(file_.get(), out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got < 0) {
      if (errno == EINTR) continue;
      throw Failure(from_errno("reading a segment"));
    }
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

std::shared_ptr<const OpenMessage::Source> SegmentCache::get(std::uint64_t number) {
  const std::lock_guard hold(mutex_);
  if (const auto found = by_number_.find(number); found != by_number_.end()) {
    used_.splice(used_.begin(), used_, found->second);
    return *found->second;
  }
  Descriptor file(files_, files_.open(segment_path(folder_, number), O_RDONLY | O_NOFOLLOW, 0));
  if (!file) {
    if (errno == ENOENT) return nullptr;
    throw Failure(from_errno("opening a segment"));
  }
  used_.push_front(std::make_shared<const OpenMessage::Source>(std::move(file), number));
  by_number_[number] = used_.begin();
  if (used_.size() > limit) {
    by_number_.erase(used_.back()->number());
    used_.pop_back();
  }
  return used_.front();
}

void SegmentCache::forget(std::uint64_t number) {
  const std::lock_guard hold(mutex_);
  if (const auto found = by_number_.find(number); found != by_number_.end()) {
    used_.erase(found->second);
    by_number_.erase(found);
  }
}

void SegmentCache::forget_unlinked() {
  const std::lock_guard hold(mutex_);
  for (auto one = used_.begin(); one != used_.end();) {
    struct stat about{};
    if (fstat((*one)->descriptor(), &about) == 0 && about.st_nlink == 0) {
      by_number_.erase((*one)->number());
      one = used_.erase(one);
    } else {
      ++one;
    }
  }
}

SegmentWriter::SegmentWriter(Files& files, Turnstile& turnstile, const std::string& folder, const SegmentHeader& header,
                             const RecordKey& key)
    : files_(files), number_(header.number) {
  const auto path = segment_path(folder, number_);
  {
    // Between open and lock a process that just opens the store would take the file for a dead one's.
    const Turnstile::Pass pass(turnstile);
    file_ = Descriptor(files_, files_.open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    if (!file_) throw Failure(from_errno("making a segment"));
    if (!try_lock(file_.get(), 0, 0)) throw Failure(Errc::unavailable, "a new segment is somebody else's");
  }
  try {
    std::string octets;
    encode_segment_header(header, key, octets);
    iovec piece{octets.data(), octets.size()};
    append({&piece, 1}, octets.size());
    sync();
    if (files_.sync_folder(folder) != 0) throw Failure(from_errno("syncing the folder of segments"));
  } catch (const Failure&) {
    files_.unlink(path);  // nothing refers to it
    throw;
  }
}

void SegmentWriter::append(std::span<iovec> pieces, std::uint64_t octets) {
  try {
    write_fully(files_, file_.get(), pieces, end_, "writing a segment");
  } catch (...) {
    // What was half written is behind the end and in no index; cut off so that the room comes back.
    files_.truncate(file_.get(), end_);
    throw;
  }
  end_ += octets;
}

void SegmentWriter::sync() {
  if (files_.sync(file_.get()) != 0) throw Failure(from_errno("syncing a segment"));
}

}  // namespace mailstore
