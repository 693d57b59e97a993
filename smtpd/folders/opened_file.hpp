#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace smtpd::folders {

/// A file of a folder into which others put what they like: opened without following a link, looked at by its
/// descriptor alone, and a plain file that has no second name. Closed with its owner.
class OpenedFile {
 public:
  struct Refusal {
    enum class Why : std::uint8_t {
      gone,     ///< nobody is there any more
      no_mail,  ///< a link, a device, a folder, a file that somebody else has a name for
      trouble,  ///< later
    } why;
    std::string text;
    std::string identity{};  ///< of one with several names
  };
  /// `folder`: a descriptor.
  static std::expected<OpenedFile, Refusal> open(int folder, const std::string& name);
  OpenedFile(OpenedFile&& from) noexcept;
  OpenedFile& operator=(OpenedFile&&) = delete;
  ~OpenedFile();

  int descriptor() const { return descriptor_; }
  std::uint32_t owner() const { return owner_; }
  /// Now; in whatever folder.
  bool has_name() const;
  /// Tells the file from every other one of its folder, those of the past among them: a number that is given again has
  /// another time of birth. (Where the file system keeps none, the number's generation and the time of the last change
  /// of the content stand in.)
  const std::string& identity() const { return identity_; }

 private:
  OpenedFile(int descriptor, std::uint32_t owner, std::string identity);
  int descriptor_;
  std::uint32_t owner_;
  std::string identity_;
};

}  // namespace smtpd::folders
