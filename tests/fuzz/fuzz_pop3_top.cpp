// TOP from any stored octets: what is sent is what a simple reading of the whole message gives, however it is cut up.
// The first octets choose the header's length, the lines, and how much is read in one go.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mailstore/files.hpp"
#include "mailstore/segment.hpp"
#include "mailstore/store.hpp"
#include "pop3d/session/top.hpp"

namespace {

void expect(bool holds) {
  if (!holds) std::abort();
}

using Source = mailstore::OpenMessage::Source;

/// A file in memory, made once; each input is written over the one before.
const std::shared_ptr<const Source>& file() {
  static const auto made = std::make_shared<const Source>(
      mailstore::Descriptor{mailstore::system_files(), ::memfd_create("top", MFD_CLOEXEC)}, 1);
  return made;
}

std::string simple_top(std::string_view stored, std::size_t header, std::uint64_t lines) {
  auto end = header;
  for (; lines > 0 && end < stored.size(); --lines) {
    const auto newline = stored.find("\r\n", end);
    end = newline == std::string_view::npos ? stored.size() : newline + 2;
  }
  return "front\r\n" + std::string{stored.substr(0, end)} + ".\r\n";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  const std::string_view stored{reinterpret_cast<const char*>(data) + 4, size - 4};
  const auto header = std::min<std::size_t>(data[0], stored.size());
  const std::uint64_t lines = data[1];
  std::vector<char> scratch(std::max<std::size_t>(data[2], 1));
  const auto prefix = stored.substr(0, std::min<std::size_t>(data[3], stored.size()));

  expect(::ftruncate(file()->descriptor(), 0) == 0);
  expect(::pwrite(file()->descriptor(), stored.data(), stored.size(), 0) == static_cast<ssize_t>(stored.size()));
  mailstore::OpenMessage message;
  message.front = "front\r\n";
  message.prefix = prefix;
  message.stored_octets = stored.size();
  message.source = file();

  pop3d::TopReader reader{std::move(message), header, lines};
  std::string sent;
  for (std::size_t round = 0;; ++round) {
    expect(round <= stored.size() + 1);
    const auto done = reader.append(sent, scratch);
    expect(done.has_value());
    if (*done) break;
  }
  expect(sent == simple_top(stored, header, lines));
  return 0;
}
