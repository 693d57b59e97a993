#include "tools/sendmail/spool.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace tools::sendmail {
namespace {

bool write_all(int file, std::string_view octets) {
  while (!octets.empty()) {
    const auto written = ::write(file, octets.data(), octets.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    octets.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

/// Others may enter the folder and not list it: the name is what keeps them from reading the file.
std::string random_name() {
  std::array<unsigned char, 16> chance{};
  if (::getrandom(chance.data(), chance.size(), 0) != static_cast<ssize_t>(chance.size())) return {};
  std::string name;
  for (const auto octet : chance) name += fmt::format("{:02x}", octet);
  return name;
}

/// The new name is on stable storage, too. Who may not list the folder may not sync it: then the whole file system is.
bool sync_folder(const std::filesystem::path& folder, int file) {
  const int opened = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (opened < 0) return errno == EACCES && ::syncfs(file) == 0;
  const bool synced = ::fsync(opened) == 0;
  ::close(opened);
  return synced;
}

}  // namespace

std::expected<void, Refusal> spool(const std::filesystem::path& folder, const Envelope& envelope, const Body& body) {
  const auto name = random_name();
  const auto hidden = folder / ('.' + name);
  const auto trouble = [&](int error) {
    return std::unexpected(Refusal{
        Status::try_again, fmt::format("the spool {} takes nothing: {}", folder.string(), std::strerror(error))});
  };
  if (name.empty()) return trouble(errno);
  const int file = ::open(hidden.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file < 0) return trouble(errno);
  struct Remove {
    const std::filesystem::path& path;
    int file;
    bool kept = false;
    ~Remove() {
      ::close(file);
      if (!kept) ::unlink(path.c_str());
    }
  } half{hidden, file};

  // smtpd has this grammar already: the envelope as it would be said to it.
  const Offer all{.size = false, .eight_bit = true, .utf8 = true, .dsn = true};
  std::string head = mail_command(envelope, all) + "\r\n";
  for (const auto& recipient : envelope.recipients) head += rcpt_command(envelope, recipient, all) + "\r\n";
  head += "DATA\r\n";
  bool written = write_all(file, head);
  int error = errno;
  auto told = body.tell([&](std::string_view piece) {
    written = written && write_all(file, piece);
    error = errno;
    return written;
  });
  if (!told) return told;
  if (!written) return trouble(error);
  // smtpd runs as a user of its own.
  if (::fchmod(file, 0644) != 0 || ::fsync(file) != 0) return trouble(errno);
  const auto final_name = folder / name;
  if (::rename(hidden.c_str(), final_name.c_str()) != 0) return trouble(errno);
  half.kept = true;
  if (!sync_folder(folder, file)) {
    const int why = errno;
    // Unless smtpd has it already.
    if (::unlink(final_name.c_str()) == 0) return trouble(why);
  }
  return {};
}

}  // namespace tools::sendmail
