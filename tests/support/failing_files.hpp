#pragma once

#include <atomic>
#include <cerrno>
#include <optional>

#include "mailstore/files.hpp"

namespace tests {

/// The system's file calls, some of which fail while they are told to. Any thread.
class FailingFiles final : public mailstore::Files {
 public:
  std::atomic<int> writes{0}, opens{0}, syncs{0};             ///< the error of such calls; 0: they succeed
  std::atomic<bool> half{false};                              ///< the next write does half of it, those after it fail
  std::atomic<std::uint64_t> writes_left{~std::uint64_t{0}};  ///< octets until the disk is full
  std::atomic<std::int64_t> free{-1};                         ///< what the disk says is left; below 0: the truth

  int open(const std::string& path, int flags, mode_t mode) override {
    return opens != 0 ? failed(opens) : mailstore::system_files().open(path, flags, mode);
  }
  int close(int descriptor) override { return mailstore::system_files().close(descriptor); }
  ssize_t write(int descriptor, std::span<const iovec> pieces, std::uint64_t offset) override {
    if (half.exchange(false)) {
      writes = EIO;
      const iovec piece{pieces[0].iov_base, pieces[0].iov_len / 2};
      return mailstore::system_files().write(descriptor, {&piece, 1}, offset);
    }
    if (writes != 0) return failed(writes);
    std::uint64_t octets = 0;
    for (const auto& piece : pieces) octets += piece.iov_len;
    if (octets > writes_left) return failed(ENOSPC);
    if (writes_left != ~std::uint64_t{0}) writes_left -= octets;
    return mailstore::system_files().write(descriptor, pieces, offset);
  }
  int sync(int descriptor) override { return syncs != 0 ? failed(syncs) : mailstore::system_files().sync(descriptor); }
  int sync_folder(const std::string& path) override {
    return opens != 0 ? failed(opens) : mailstore::system_files().sync_folder(path);
  }
  int truncate(int descriptor, std::uint64_t size) override {
    return mailstore::system_files().truncate(descriptor, size);
  }
  int unlink(const std::string& path) override { return mailstore::system_files().unlink(path); }
  int rename(const std::string& from, const std::string& to) override {
    return mailstore::system_files().rename(from, to);
  }
  std::optional<std::uint64_t> free_octets(const std::string& folder) override {
    return free < 0 ? mailstore::system_files().free_octets(folder) : static_cast<std::uint64_t>(free.load());
  }

 private:
  static int failed(int error) {
    errno = error;
    return -1;
  }
};

}  // namespace tests
