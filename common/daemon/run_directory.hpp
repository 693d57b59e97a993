#pragma once

#include <expected>
#include <filesystem>
#include <string>
#include <string_view>

namespace common::daemon {

/// A daemon's place in the run directory: its lock while it lives, its pid file while it serves.
class RunDirectory {
 public:
  /// Makes the folder if it is missing (then given to `owner`, who may be us) and takes DIR/NAME.lock. Error: a
  /// sentence with the remedy, such as that another daemon runs there.
  static std::expected<RunDirectory, std::string> take(const std::filesystem::path& directory, std::string_view name,
                                                       const std::string& owner);
  RunDirectory(RunDirectory&& other) noexcept;
  RunDirectory& operator=(RunDirectory&&) = delete;
  ~RunDirectory();

  /// DIR/NAME.pid, there from one moment to the next with its whole content. Error: a sentence.
  std::expected<void, std::string> write_pid();
  /// DIR/NAME.ctl
  std::filesystem::path control() const;

 private:
  RunDirectory(std::filesystem::path directory, std::string name, int lock);
  std::filesystem::path directory_;
  std::string name_;
  int lock_ = -1;
  bool pid_written_ = false;
};

}  // namespace common::daemon
