#include "mailstore/index_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "mailstore/failure.hpp"
#include "mailstore/files.hpp"

namespace mailstore {
namespace {

// The layout of LMDB 0.9's file (data version 1): page header 16 octets, then pointers to nodes, nodes of 8 octets and
// key and data.
constexpr std::size_t header_octets = 16, node_octets = 8, table_octets = 48, meta_octets = 136;
constexpr std::uint16_t page_branch = 1, page_leaf = 2, page_overflow = 4, page_meta = 8;
constexpr std::uint16_t page_passing = 0xC010;  // marks that mean something in memory only
constexpr std::uint16_t node_big = 1, node_table = 2;
constexpr std::uint16_t table_integer_keys = 8;
constexpr std::uint32_t meta_magic = 0xBEEFC0DE, data_version = 1;
constexpr std::uint64_t no_page = ~std::uint64_t{0}, first_page = 2;
constexpr unsigned depth_limit = 32;  // of LMDB's cursors
constexpr int tries = 20;

[[noreturn]] void damaged(std::string how) {
  throw Failure(Errc::corrupt, std::move(how));
}

template <class T>
T at(const std::vector<char>& page, std::size_t offset) {
  T value;
  if (offset + sizeof value > page.size()) damaged("a page of the index points outside itself");
  std::memcpy(&value, page.data() + offset, sizeof value);
  return value;
}

struct Table {
  std::uint16_t flags = 0, depth = 0;
  std::uint64_t entries = 0, root = no_page;
};

Table table_at(const std::vector<char>& page, std::size_t offset) {
  return {.flags = at<std::uint16_t>(page, offset + 4),
          .depth = at<std::uint16_t>(page, offset + 6),
          .entries = at<std::uint64_t>(page, offset + 32),
          .root = at<std::uint64_t>(page, offset + 40)};
}

struct Meta {
  std::uint32_t page_size = 0;
  Table free, main;
  std::uint64_t last_page = 0, transaction = 0;
};

class IndexFile {
 public:
  explicit IndexFile(const std::string& path)
      : file_(system_files(), system_files().open(path, O_RDONLY | O_NOFOLLOW, 0)) {
    if (!file_) throw Failure(errno == ENOENT ? Errc::corrupt : Errc::unavailable, from_errno(path).detail);
  }

  void check(IndexCheck how) {
    for (int left = tries;; --left) {
      seen_.reset();
      try {
        check_once(how);
        return;
      } catch (const Failure& failure) {
        if (failure.error().code != Errc::corrupt || left == 0) throw;
        // Another process may have written meanwhile: the meta pages were read at two moments, or pages of the state
        // that was looked at are others by now.
        const auto looked_at = seen_;
        if (looked_at && newest_transaction() == looked_at) throw;
      }
    }
  }

 private:
  void check_once(IndexCheck how) {
    struct stat about{};
    if (fstat(file_.get(), &about) != 0) throw Failure(from_errno("reading the index"));
    size_ = static_cast<std::uint64_t>(about.st_size);
    const auto meta = newest_meta();
    page_size_ = meta.page_size;
    last_page_ = meta.last_page;
    // A file may end early by pages that were given back before they were ever written; then every page must be looked
    // at.
    const bool all = how == IndexCheck::whole || (meta.last_page + 1) * page_size_ > size_;
    in_table_ = false;
    levels_ = all ? depth_limit : 1;
    if ((meta.free.flags & ~table_integer_keys) != 0) damaged("the list of free pages of the index is damaged");
    fewest_children_ = 1;  // LMDB lets a branch of this table be that small, and dies of one in any other
    check_table({.flags = 0, .depth = meta.free.depth, .entries = meta.free.entries, .root = meta.free.root});
    fewest_children_ = 2;
    check_table(meta.main);
  }

  /// The two meta pages are written in turn, so their transactions follow each other.
  Meta newest_meta() {
    const std::array<Meta, 2> both{read_meta(0, 4096), read_meta(1, 0)};
    const auto& newest = both[both[1].transaction > both[0].transaction ? 1 : 0];
    const auto& other = both[both[1].transaction > both[0].transaction ? 0 : 1];
    const bool in_turn =
        newest.transaction == other.transaction
            ? newest.transaction == 0
            : newest.transaction == other.transaction + 1 && newest.transaction % 2 == (&newest == &both[1] ? 1U : 0U);
    if (!in_turn || newest.page_size != other.page_size) damaged("the meta pages of the index contradict each other");
    seen_ = newest.transaction;
    return newest;
  }

  /// `page_size` 0: as the meta page before said.
  Meta read_meta(std::uint64_t number, std::uint32_t page_size) {
    if (page_size != 0) page_size_ = page_size;
    const auto page = read_raw(number * page_size_, header_octets + meta_octets);
    if (page.size() < header_octets + meta_octets || at<std::uint64_t>(page, 0) != number ||
        at<std::uint16_t>(page, 10) != page_meta || at<std::uint32_t>(page, 16) != meta_magic ||
        at<std::uint32_t>(page, 20) != data_version) {
      damaged(fmt::format("meta page {} of the index is not sound", number));
    }
    Meta meta;
    meta.page_size = at<std::uint32_t>(page, 40);
    meta.free = table_at(page, 40);
    meta.main = table_at(page, 40 + table_octets);
    meta.last_page = at<std::uint64_t>(page, 40 + 2 * table_octets);
    meta.transaction = at<std::uint64_t>(page, 40 + 2 * table_octets + 8);
    const auto map_size = at<std::uint64_t>(page, 32);
    if (!std::has_single_bit(meta.page_size) || meta.page_size < 512 || meta.page_size > 65536 || meta.last_page < 1 ||
        meta.last_page >= map_size / meta.page_size) {
      damaged(fmt::format("meta page {} of the index is not sound", number));
    }
    page_size_ = meta.page_size;
    return meta;
  }

  std::optional<std::uint64_t> newest_transaction() {
    try {
      return newest_meta().transaction;
    } catch (const Failure&) {
      return std::nullopt;
    }
  }

  std::vector<char> read_raw(std::uint64_t offset, std::size_t size) const {
    std::vector<char> octets(size);
    const ssize_t got = ::pread(file_.get(), octets.data(), size, static_cast<off_t>(offset));
    if (got < 0) throw Failure(from_errno("reading the index"));
    octets.resize(static_cast<std::size_t>(got));
    return octets;
  }

  std::vector<char> read_page(std::uint64_t number) const {
    if (number < first_page || number > last_page_)
      damaged(fmt::format("the index leads to page {}, which is none of its own", number));
    auto page = read_raw(number * page_size_, page_size_);
    if (page.size() < page_size_) damaged(fmt::format("the index is cut off before page {}", number));
    if (at<std::uint64_t>(page, 0) != number) damaged(fmt::format("page {} of the index is not itself", number));
    return page;
  }

  void check_table(const Table& table) {
    if (table.flags != 0) damaged("a table of the index is of a kind that this program does not make");
    if (table.root == no_page) {
      if (table.depth != 0 || table.entries != 0) damaged("a table of the index has lost its root");
      return;
    }
    if (table.depth == 0 || table.depth > depth_limit) damaged("a table of the index is deeper than it can be");
    walk(table.root, table.depth, levels_);
  }

  /// `height`: 1 is a leaf. `levels`: how many to look at, the children of the last unseen.
  void walk(std::uint64_t number, unsigned height, unsigned levels) {
    const auto page = read_page(number);
    const auto flags = at<std::uint16_t>(page, 10) & ~page_passing;
    const std::size_t lower = at<std::uint16_t>(page, 12), upper = at<std::uint16_t>(page, 14);
    if (flags != (height == 1 ? page_leaf : page_branch) || lower < header_octets || lower > upper ||
        upper > page.size() || lower % 2 != 0) {
      damaged(fmt::format("page {} of the index is not a page of a table", number));
    }
    const auto nodes = (lower - header_octets) / 2;
    if (nodes < (height == 1 ? 1U : fewest_children_)) damaged(fmt::format("page {} of the index is empty", number));
    for (std::size_t i = 0; i < nodes; ++i) {
      const std::size_t node = at<std::uint16_t>(page, header_octets + 2 * i);
      if (node < upper || node % 2 != 0) damaged(fmt::format("page {} of the index points into its head", number));
      const std::uint64_t low = at<std::uint16_t>(page, node);
      const std::uint64_t high = at<std::uint16_t>(page, node + 2);
      const std::uint64_t node_flags = at<std::uint16_t>(page, node + 4);
      const std::size_t data = node + node_octets + at<std::uint16_t>(page, node + 6);
      if (data > page.size()) damaged(fmt::format("page {} of the index points outside itself", number));
      if (height > 1) {
        const auto child = low | (high << 16U) | (node_flags << 32U);
        if (child < first_page || child > last_page_)
          damaged(fmt::format("the index leads to page {}, which is none of its own", child));
        if (levels > 1) walk(child, height - 1, levels - 1);
        continue;
      }
      check_value(page, data, low | (high << 16U), static_cast<std::uint16_t>(node_flags));
    }
  }

  void check_value(const std::vector<char>& page, std::size_t data, std::uint64_t size, std::uint16_t flags) {
    if (flags == node_big) {
      const auto first = at<std::uint64_t>(page, data);
      const auto overflow = read_page(first);
      if ((at<std::uint16_t>(overflow, 10) & ~page_passing) != page_overflow)
        damaged("a large value of the index is gone");
      const std::uint64_t pages = at<std::uint32_t>(overflow, 12);
      if (pages * page_size_ < header_octets + size || first + pages > last_page_ + 1 ||
          (first + pages) * page_size_ > size_) {
        damaged("a large value of the index is cut off");
      }
      return;
    }
    if (data + size > page.size()) damaged("a value of the index is cut off");
    if (flags == node_table) {
      // Tables lie in the table of tables alone; else one that leads to that would lead round and round.
      if (size != table_octets || in_table_) damaged("a table of the index is damaged");
      in_table_ = true;
      check_table(table_at(page, data));
      in_table_ = false;
    } else if (flags != 0) {
      damaged("a value of the index is of a kind that this program does not make");
    }
  }

  Descriptor file_;
  std::uint64_t size_ = 0, last_page_ = 0;
  std::optional<std::uint64_t> seen_;  // the transaction of the state that is looked at
  std::uint32_t page_size_ = 4096;
  bool in_table_ = false;
  unsigned levels_ = 1, fewest_children_ = 2;
};

}  // namespace

Result<void> check_index_file(const std::string& path, IndexCheck how) {
  return guarded([&]() -> Result<void> {
    IndexFile(path).check(how);
    return {};
  });
}

}  // namespace mailstore
