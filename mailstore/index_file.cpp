#include "mailstore/index_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

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
constexpr std::size_t header_octets = 16, node_octets = 8, db_octets = 48;
constexpr std::uint16_t page_branch = 1, page_leaf = 2, page_overflow = 4, page_meta = 8;
constexpr std::uint16_t node_big = 1, node_table = 2;
constexpr std::uint32_t meta_magic = 0xBEEFC0DE, data_version = 1;
constexpr std::uint64_t no_page = ~std::uint64_t{0};
constexpr unsigned depth_limit = 64;

template <class T>
T at(const std::vector<char>& page, std::size_t offset) {
  T value;
  if (offset + sizeof value > page.size()) throw Failure(Errc::corrupt, "a page of the index points outside itself");
  std::memcpy(&value, page.data() + offset, sizeof value);
  return value;
}

struct Meta {
  std::uint32_t page_size = 0;
  std::uint64_t roots[2] = {no_page, no_page};
  std::uint64_t last_page = 0, transaction = 0;
};

class IndexFile {
 public:
  explicit IndexFile(const std::string& path)
      : file_(system_files(), system_files().open(path, O_RDONLY | O_NOFOLLOW, 0)) {
    if (!file_) throw Failure(from_errno(path));
    struct stat about{};
    if (fstat(file_.get(), &about) != 0) throw Failure(from_errno(path));
    size_ = static_cast<std::uint64_t>(about.st_size);
  }

  void check(IndexCheck how) {
    const auto meta = newest_meta();
    page_size_ = meta.page_size;
    last_page_ = meta.last_page;
    if (meta.roots[1] != no_page) read_page(meta.roots[1]);
    // A file may end early by pages that were given back before they were ever written; then every page must be looked
    // at.
    if (how == IndexCheck::quick && (meta.last_page + 1) * page_size_ <= size_) return;
    for (const auto root : meta.roots) {
      if (root != no_page) walk(root, 0);
    }
  }

 private:
  Meta newest_meta() {
    std::optional<Meta> newest;
    std::uint32_t page_size = 4096;
    for (std::uint64_t number = 0; number < 2; ++number) {
      page_size_ = page_size;
      const auto page = read_raw(number * page_size, header_octets + 136);
      if (page.size() < header_octets + 136 || (at<std::uint16_t>(page, 10) & page_meta) == 0) continue;
      if (at<std::uint32_t>(page, 16) != meta_magic || at<std::uint32_t>(page, 20) != data_version) continue;
      Meta meta;
      meta.page_size = at<std::uint32_t>(page, 40);
      meta.roots[0] = at<std::uint64_t>(page, 40 + 40);
      meta.roots[1] = at<std::uint64_t>(page, 40 + db_octets + 40);
      meta.last_page = at<std::uint64_t>(page, 40 + 2 * db_octets);
      meta.transaction = at<std::uint64_t>(page, 40 + 2 * db_octets + 8);
      if (meta.page_size < 512 || meta.page_size > 65536) continue;
      page_size = meta.page_size;
      if (!newest || meta.transaction > newest->transaction) newest = meta;
    }
    if (!newest) throw Failure(Errc::corrupt, "neither meta page of the index is sound");
    return *newest;
  }

  std::vector<char> read_raw(std::uint64_t offset, std::size_t size) const {
    std::vector<char> octets(size);
    const ssize_t got = ::pread(file_.get(), octets.data(), size, static_cast<off_t>(offset));
    if (got < 0) throw Failure(from_errno("reading the index"));
    octets.resize(static_cast<std::size_t>(got));
    return octets;
  }

  std::vector<char> read_page(std::uint64_t number) const {
    if (number > last_page_)
      throw Failure(Errc::corrupt, fmt::format("the index leads to page {} behind its last", number));
    auto page = read_raw(number * page_size_, page_size_);
    if (page.size() < page_size_)
      throw Failure(Errc::corrupt, fmt::format("the index is cut off before page {}", number));
    if (at<std::uint64_t>(page, 0) != number)
      throw Failure(Errc::corrupt, fmt::format("page {} of the index is not itself", number));
    return page;
  }

  void walk(std::uint64_t number, unsigned depth) {
    if (depth > depth_limit) throw Failure(Errc::corrupt, "the index is deeper than it can be");
    const auto page = read_page(number);
    const auto flags = at<std::uint16_t>(page, 10);
    const std::size_t lower = at<std::uint16_t>(page, 12);
    if ((flags & (page_branch | page_leaf)) == 0 || lower < header_octets || lower > page.size()) {
      throw Failure(Errc::corrupt, fmt::format("page {} of the index is not a page of a table", number));
    }
    for (std::size_t i = 0; i < (lower - header_octets) / 2; ++i) {
      const std::size_t node = at<std::uint16_t>(page, header_octets + 2 * i);
      const std::uint64_t low = at<std::uint16_t>(page, node);
      const std::uint64_t high = at<std::uint16_t>(page, node + 2);
      const std::uint64_t node_flags = at<std::uint16_t>(page, node + 4);
      const std::size_t data = node + node_octets + at<std::uint16_t>(page, node + 6);
      if ((flags & page_branch) != 0) {
        walk(low | (high << 16U) | (node_flags << 32U), depth + 1);
      } else if ((node_flags & node_table) != 0) {
        const auto root = at<std::uint64_t>(page, data + 40);
        if (root != no_page) walk(root, depth + 1);
      } else if ((node_flags & node_big) != 0) {
        const auto first = at<std::uint64_t>(page, data);
        const auto overflow = read_page(first);
        if ((at<std::uint16_t>(overflow, 10) & page_overflow) == 0)
          throw Failure(Errc::corrupt, "a large value of the index is gone");
        const auto pages = at<std::uint32_t>(overflow, 12);
        if ((first + pages) * page_size_ > size_) throw Failure(Errc::corrupt, "a large value of the index is cut off");
      } else if (data + (low | (high << 16U)) > page.size()) {
        throw Failure(Errc::corrupt, fmt::format("page {} of the index points outside itself", number));
      }
    }
  }

  Descriptor file_;
  std::uint64_t size_ = 0, last_page_ = 0;
  std::uint32_t page_size_ = 4096;
};

}  // namespace

Result<void> check_index_file(const std::string& path, IndexCheck how) {
  return guarded([&]() -> Result<void> {
    IndexFile(path).check(how);
    return {};
  });
}

}  // namespace mailstore
