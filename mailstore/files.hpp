#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>

/// The few file calls that durability depends on. The daemons use `system_files()`; the fault tests put a double in its
/// place that fails the Nth call and, at a power failure, loses or reorders what was not synced. Each returns what the
/// system call does: -1 and errno on failure. Any thread.
namespace mailstore {

class Files {
 public:
  virtual ~Files() = default;
  /// O_CLOEXEC is added.
  virtual int open(const std::string& path, int flags, mode_t mode) = 0;
  virtual int close(int descriptor) = 0;
  /// May write less than asked, as pwritev(2) does.
  virtual ssize_t write(int descriptor, std::span<const iovec> pieces, std::uint64_t offset) = 0;
  /// The octets and the size of the file are on stable storage when it returns 0. Never repeated after a failure.
  virtual int sync(int descriptor) = 0;
  /// The names in a folder are.
  virtual int sync_folder(const std::string& path) = 0;
  virtual int truncate(int descriptor, std::uint64_t size) = 0;
  virtual int unlink(const std::string& path) = 0;
  virtual int rename(const std::string& from, const std::string& to) = 0;
  /// What may still be written to the folder's file system; nullopt: nobody knows.
  virtual std::optional<std::uint64_t> free_octets(const std::string& folder) = 0;
};

Files& system_files();

/// Writes everything or throws Failure.
void write_fully(Files& files, int descriptor, std::span<iovec> pieces, std::uint64_t offset, const char* what);

/// A descriptor that closes itself.
class Descriptor {
 public:
  Descriptor() = default;
  Descriptor(Files& files, int number) : files_(&files), number_(number) {}
  Descriptor(Descriptor&& other) noexcept : files_(other.files_), number_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor() { reset(); }
  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }
  int release() {
    const int number = number_;
    number_ = -1;
    return number;
  }
  void reset();

 private:
  Files* files_ = nullptr;
  int number_ = -1;
};

}  // namespace mailstore
