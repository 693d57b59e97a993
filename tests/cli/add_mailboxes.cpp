// Adds many mailboxes without passwords to a domain: add_mailboxes STORE DOMAIN COUNT. For tests of long lists: the
// tool itself starts anew for each.

#include <cstdlib>
#include <iostream>
#include <string>

#include <fmt/format.h>

#include "mailstore/store.hpp"
#include "tools/pennypost/await.hpp"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  mailstore::Options options;
  options.path = argv[1];
  options.map_size = std::uint64_t{1} << 30U;
  options.reserve = 0;
  auto store = mailstore::Store::open(options);
  if (!store) {
    std::cerr << store.error().detail << '\n';
    return 1;
  }
  const int count = std::atoi(argv[3]);
  for (int number = 0; number < count; ++number) {
    mailstore::NewMailbox mailbox;
    mailbox.address = fmt::format("p{:06}@{}", number, argv[2]);
    const auto added = tools::run_awaitable((*store)->add_mailbox(std::move(mailbox)));
    if (!added) {
      std::cerr << added.error().detail << '\n';
      return 1;
    }
  }
  return 0;
}
