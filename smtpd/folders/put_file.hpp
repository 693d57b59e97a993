#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "mailstore/store.hpp"

namespace smtpd::folders {

/// A message on its way into a file, exactly once: its octets are written and synced under a hidden name, the queue is
/// told that it is being placed, the name is changed. All calls block; errors are sentences.
struct FileToPut {
  std::filesystem::path file;
  std::string folder_mark;                       ///< of its folder, as the queue has it
  std::string front;                             ///< lines before the message
  const mailstore::OpenMessage* body = nullptr;  ///< null: the hidden file is there already, or was
  std::uint64_t octets = 0;                      ///< of the file, once written
};

/// Writes and syncs all of them, then their folders, so that the hidden names are there after whatever comes.
std::expected<void, std::string> write_hidden(std::vector<FileToPut>& files);
/// Gives them their names, durably. One whose hidden name is gone was put before; one that cannot be told, since its
/// folder is not to be seen or is another one, is an error.
std::expected<void, std::string> uncover(const std::vector<FileToPut>& files);

}  // namespace smtpd::folders
