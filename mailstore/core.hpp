#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "mailstore/index.hpp"
#include "mailstore/locks.hpp"
#include "mailstore/logins.hpp"
#include "mailstore/message_id.hpp"
#include "mailstore/segment.hpp"
#include "mailstore/store.hpp"

namespace mailstore {

/// Where things lie in a store's folder.
struct Layout {
  explicit Layout(const std::filesystem::path& path)
      : root(path.string()),
        identity(root + "/STORE"),
        index(root + "/index"),
        segments(root + "/segments"),
        journal(root + "/journal"),
        locks(root + "/locks") {}
  std::string root, identity, index, segments, journal, locks;
};

/// The file STORE: what a store is before its index is opened.
struct Identity {
  std::uint64_t format = 0;
  std::uint64_t name = 0;  ///< random; stands in every segment
  RecordKey key{};
};
void write_identity(Files& files, const Layout& layout, const Identity& identity);
Identity read_identity(const Layout& layout);

/// Segment numbers that the index has handed to this process for good; unused ones are gaps. Any thread.
class SegmentNumbers {
 public:
  static constexpr std::uint64_t block = 64;
  std::optional<std::uint64_t> take();
  void give(std::uint64_t first, std::uint64_t count);

 private:
  std::mutex mutex_;
  std::uint64_t next_ = 0, left_ = 0;
};

/// What the parts of an open store share.
struct Core {
  Core(Options given, const Identity& who);
  void warn(std::string_view what) const {
    if (options.warn) options.warn(what);
  }
  /// The clock as ids count it.
  std::uint64_t now() const { return options.clock ? options.clock() : microseconds_since_2020(); }

  Options options;
  Files& files;
  Layout layout;
  Identity identity;
  Presence presence;
  Index index;
  MaildropLocks maildrops;
  LoginTimes logins;
  Turnstile turnstile;
  WriterSlot writer_slot;
  IdSource ids;
  SegmentCache segments;
  SegmentNumbers segment_numbers;
  std::uint64_t generation = 0;

  std::atomic<std::uint64_t> draft_octets{0};  // held in memory by all drafts
  std::atomic<std::int64_t> room_checked{0};   // steady seconds
  std::atomic<bool> room{true};

  struct {
    std::atomic<std::uint64_t> commits{0}, accepted{0}, entries{0}, removed{0}, overlapped{0}, failed{0};
  } counters;
};

/// True while the disk has more than the reserve free; asks the file system at most once a second.
bool has_room(Core& core);
/// The same, asked now.
bool look_for_room(Core& core);

}  // namespace mailstore
