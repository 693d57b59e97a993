// Puts many messages into a store as a process of its own, as an import would: for measurements of what that costs the
// others, and to be killed.
//
//   import_messages STORE PREFIX COUNT CALLERS MAP_OCTETS ADDRESS...
//
// The Nth message goes to one of the addresses, every fifth to all. It says on standard output what it is about to do
// and what was promised, a line each: "try TOKEN ADDRESS...", then "put TOKEN ID" or "not TOKEN". TOKEN: PREFIX-N.
#include <fmt/format.h>
#include <unistd.h>

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "mailstore/store.hpp"

namespace {

/// Whole lines, at once: whoever kills this process reads what was said before.
void say(std::string line) {
  line += '\n';
  if (::write(STDOUT_FILENO, line.data(), line.size()) != static_cast<ssize_t>(line.size())) std::exit(3);
}

struct Import {
  mailstore::Store& store;
  std::string prefix;
  std::uint64_t count;
  std::vector<std::string> addresses;
  std::vector<mailstore::MailboxNumber> numbers;
  std::uint64_t next = 0, refused = 0;
};

asio::awaitable<void> caller(Import& import) {
  while (import.next < import.count) {
    const auto place = import.next++;
    const auto token = fmt::format("{}-{}", import.prefix, place);
    auto beginning = import.store.begin();
    auto draft = co_await std::move(beginning);
    if (!draft) {
      ++import.refused;
      continue;
    }
    mailstore::Envelope envelope{.reverse_path = "import@far.test", .server = "import", .owners = {}};
    std::string line = "try " + token;
    for (std::size_t i = 0; i < import.addresses.size(); ++i) {
      if (place % 5 != 0 && place % import.addresses.size() != i) continue;
      envelope.owners.push_back({.mailbox = import.numbers[i],
                                 .delivered_to = import.addresses[i],
                                 .original_recipient = {},
                                 .unique_id = {}});
      line += " " + import.addresses[i];
    }
    const auto id = mailstore::format_id(draft->id());
    std::string octets = fmt::format("Received: by import.test id {}\r\nSubject: {}\r\n\r\n", id, token);
    const auto header = octets.size();
    for (std::uint64_t i = 0; i < 20 + place % 200; ++i) octets += "an imported line\r\n";
    draft->append(octets);
    const mailstore::BodyFacts facts{.octets = octets.size(), .header_octets = header, .stuffed = false};
    say(std::move(line));
    auto accepting = import.store.accept(std::move(*draft), std::move(envelope), facts);
    const auto accepted = co_await std::move(accepting);
    if (!accepted) ++import.refused;
    say(accepted ? fmt::format("put {} {}", token, id) : "not " + token);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 7) return 2;
  mailstore::Options options{.path = argv[1]};
  options.map_size = std::strtoull(argv[5], nullptr, 10);
  options.reserve = 0;
  auto store = mailstore::Store::open(options);
  if (!store) {
    std::cerr << store.error().detail << '\n';
    return 1;
  }
  Import import{.store = **store,
                .prefix = argv[2],
                .count = std::strtoull(argv[3], nullptr, 10),
                .addresses = {argv + 6, argv + argc},
                .numbers = {}};
  for (const auto& address : import.addresses) {
    const auto mailbox = (*store)->directory()->mailbox(address);
    if (!mailbox || !*mailbox) {
      std::cerr << "no mailbox " << address << '\n';
      return 1;
    }
    import.numbers.push_back((*mailbox)->number);
  }
  asio::io_context io(1);
  for (std::uint64_t i = std::strtoull(argv[4], nullptr, 10); i > 0; --i) {
    asio::co_spawn(io, caller(import), [](std::exception_ptr error) {
      if (error) std::rethrow_exception(error);
    });
  }
  io.run();
  return import.refused == 0 ? 0 : 4;
}
