#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>

#include "mailstore/files.hpp"
#include "mailstore/locks.hpp"
#include "mailstore/record.hpp"
#include "mailstore/store.hpp"

namespace mailstore {

std::string segment_path(const std::string& folder, std::uint64_t number);

/// A segment open for reading.
class OpenMessage::Source {
 public:
  Source(Descriptor file, std::uint64_t number) : file_(std::move(file)), number_(number) {}
  int descriptor() const { return file_.get(); }
  std::uint64_t number() const { return number_; }
  /// Reads until `out` is full or the file ends; throws Failure.
  std::size_t read(std::uint64_t offset, std::span<char> out) const;

 private:
  Descriptor file_;
  std::uint64_t number_;
};

/// The segments that this process has open for reading; the ones not used for longest are closed. Any thread.
class SegmentCache {
 public:
  SegmentCache(Files& files, std::string folder) : files_(files), folder_(std::move(folder)) {}
  /// Null when there is no such file.
  std::shared_ptr<const OpenMessage::Source> get(std::uint64_t number);
  void forget(std::uint64_t number);
  /// Closes the files that have no name any more, so that their room comes back; a reader keeps what it holds.
  void forget_unlinked();

 private:
  static constexpr std::size_t limit = 256;
  using Source = std::shared_ptr<const OpenMessage::Source>;
  Files& files_;
  std::string folder_;
  std::mutex mutex_;
  std::list<Source> used_;  // newest first
  std::unordered_map<std::uint64_t, std::list<Source>::iterator> by_number_;
};

/// The segment that this process appends to. Only the commit thread touches it. Locked for as long as it is open, so
/// that nobody else takes it for a dead process's.
class SegmentWriter {
 public:
  /// Makes the file: header written, file and folder synced, lock held. Its row comes with the first message.
  SegmentWriter(Files& files, Turnstile& turnstile, const std::string& folder, const SegmentHeader& header,
                const RecordKey& key);
  std::uint64_t number() const { return number_; }
  std::uint64_t end() const { return end_; }
  int descriptor() const { return file_.get(); }
  /// Appends; on failure the file is cut back to where it was, as far as that goes, and Failure is thrown.
  void append(std::span<iovec> pieces, std::uint64_t octets);
  /// Throws Failure; the segment must not be written to after that.
  void sync();

 private:
  Files& files_;
  Descriptor file_;
  std::uint64_t number_;
  std::uint64_t end_ = 0;
};

}  // namespace mailstore
