#include "mailstore/files.hpp"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>

#include "mailstore/failure.hpp"

namespace mailstore {
namespace {

class SystemFiles final : public Files {
 public:
  int open(const std::string& path, int flags, mode_t mode) override {
    return ::open(path.c_str(), flags | O_CLOEXEC, mode);
  }
  int close(int descriptor) override { return ::close(descriptor); }
  ssize_t write(int descriptor, std::span<const iovec> pieces, std::uint64_t offset) override {
    return ::pwritev(descriptor, pieces.data(), static_cast<int>(pieces.size()), static_cast<off_t>(offset));
  }
  int sync(int descriptor) override { return ::fdatasync(descriptor); }
  int sync_folder(const std::string& path) override {
    const int folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return -1;
    const int result = ::fsync(folder);
    const int kept = errno;
    ::close(folder);
    errno = kept;
    return result;
  }
  int truncate(int descriptor, std::uint64_t size) override {
    return ::ftruncate(descriptor, static_cast<off_t>(size));
  }
  int unlink(const std::string& path) override { return ::unlink(path.c_str()); }
  int rename(const std::string& from, const std::string& to) override { return std::rename(from.c_str(), to.c_str()); }
  std::optional<std::uint64_t> free_octets(const std::string& folder) override {
    struct statvfs about{};
    if (::statvfs(folder.c_str(), &about) != 0) return std::nullopt;
    return std::uint64_t{about.f_bavail} * about.f_frsize;
  }
};

}  // namespace

Files& system_files() {
  static SystemFiles files;
  return files;
}

void write_fully(Files& files, int descriptor, std::span<iovec> pieces, std::uint64_t offset, const char* what) {
  while (!pieces.empty()) {
    const auto group = pieces.first(std::min<std::size_t>(pieces.size(), IOV_MAX));
    const ssize_t written = files.write(descriptor, group, offset);
    if (written < 0) {
      if (errno == EINTR) continue;
      throw Failure(from_errno(what));
    }
    if (written == 0) throw Failure(from_errno(what, EIO));
    offset += static_cast<std::uint64_t>(written);
    auto left = static_cast<std::size_t>(written);
    while (left > 0) {
      auto& piece = pieces.front();
      const auto used = std::min(left, piece.iov_len);
      piece.iov_base = static_cast<char*>(piece.iov_base) + used;
      piece.iov_len -= used;
      left -= used;
      if (piece.iov_len == 0) pieces = pieces.subspan(1);
    }
    while (!pieces.empty() && pieces.front().iov_len == 0) pieces = pieces.subspan(1);
  }
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    reset();
    files_ = other.files_;
    number_ = other.release();
  }
  return *this;
}

void Descriptor::reset() {
  if (number_ >= 0) files_->close(number_);
  number_ = -1;
}

}  // namespace mailstore
