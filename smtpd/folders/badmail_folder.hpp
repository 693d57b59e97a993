#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <string>
#include <vector>

#include "common/clock.hpp"

#include "smtpd/folders/badmail.hpp"

namespace smtpd::folders {

/// The files in a server's badmail folder: ID.BAD is what was in the way, ID.BDR says why it was. All calls block.
class BadmailFolder {
 public:
  explicit BadmailFolder(std::filesystem::path path) : path_(std::move(path)) {}

  /// Moves the file `name` of the open folder here, and returns its id. Error, and it lies where it lay: a sentence, or
  /// nothing for a link, a folder, a device, which stay where they are: they are no mail, and none of it is lost.
  std::expected<std::string, std::string> put(int folder, const std::string& name, const BadmailNote& note,
                                              const common::Clock& clock);

  struct Item {
    std::string id;
    std::uint64_t octets = 0;
  };
  /// Oldest first.
  std::vector<Item> list() const;
  void remove(const std::string& id);
  /// Notes whose file never came.
  void clear_notes();

 private:
  std::filesystem::path path_;
};

}  // namespace smtpd::folders
