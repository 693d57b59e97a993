// Changes mailboxes as it is told, one change a line, and says "done" or what is wrong: change_mailboxes STORE. For
// tests of many changes: the tool itself starts anew for each.
//
//   lock ADDRESS | unlock ADDRESS | remove ADDRESS | restore ADDRESS | hash ADDRESS CRYPT

#include <iostream>
#include <sstream>
#include <string>

#include "mailstore/store.hpp"
#include "tools/pennypost/await.hpp"

namespace {

mailstore::Result<void> change(mailstore::Store& store, const std::string& line) {
  std::istringstream words{line};
  std::string what, address, hash;
  words >> what >> address >> hash;
  mailstore::MailboxChange changed;
  if (what == "remove") return tools::run_awaitable(store.remove_mailbox(address, false));
  if (what == "restore") return tools::run_awaitable(store.restore_mailbox(address));
  if (what == "hash") {
    changed.credential = mailstore::Credential{0, hash, {}};
  } else {
    changed.locked = what == "lock";
  }
  return tools::run_awaitable(store.change_mailbox(address, changed));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  mailstore::Options options;
  options.path = argv[1];
  options.map_size = std::uint64_t{1} << 30U;
  options.reserve = 0;
  auto store = mailstore::Store::open(options);
  if (!store) {
    std::cout << store.error().detail << std::endl;
    return 1;
  }
  for (std::string line; std::getline(std::cin, line);) {
    const auto changed = change(**store, line);
    std::cout << (changed ? "done" : changed.error().detail) << std::endl;
  }
  return 0;
}
