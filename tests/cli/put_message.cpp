// Puts one message into one mailbox, as smtpd would: put_message STORE ADDRESS REVERSE-PATH <MESSAGE, prints the id.
// More addresses, behind the reverse-path, go into the queue; with `-` in place of ADDRESS they alone.
// For tests of the tool that need mail and no daemon.

#include <iostream>
#include <iterator>
#include <string>

#include <fmt/format.h>

#include "mailstore/store.hpp"
#include "tools/pennypost/await.hpp"

namespace {

/// RFC 5321 4.5.2
std::string stuffed(const std::string& message) {
  std::string out = message.starts_with('.') ? "." : "";
  for (std::size_t at = 0; at < message.size(); ++at) {
    out += message[at];
    if (out.ends_with("\r\n") && message.substr(at + 1, 1) == ".") out += '.';
  }
  return out;
}

asio::awaitable<mailstore::Result<std::string>> put(mailstore::Store& store, mailstore::Envelope envelope,
                                                    std::string message) {
  auto begun = co_await store.begin();
  if (!begun) co_return std::unexpected(begun.error());
  const auto stored = stuffed(message);
  begun->append(stored);
  const auto id = mailstore::format_id(begun->id());
  const auto end_of_header = stored.find("\r\n\r\n");
  mailstore::BodyFacts facts;
  facts.octets = message.size();
  facts.header_octets = end_of_header == std::string::npos ? stored.size() : end_of_header + 4;
  facts.stuffed = stored.size() != message.size();
  auto accepting = store.accept(std::move(*begun), std::move(envelope), facts);
  const auto accepted = co_await std::move(accepting);
  if (!accepted) co_return std::unexpected(accepted.error());
  co_return id;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  mailstore::Options options;
  options.path = argv[1];
  options.map_size = std::uint64_t{1} << 30U;
  options.reserve = 0;
  auto store = mailstore::Store::open(options);
  if (!store) {
    std::cerr << store.error().detail << '\n';
    return 1;
  }
  mailstore::Envelope envelope;
  envelope.reverse_path = argv[3];
  envelope.server = "test";
  const std::string address = argv[2];
  if (address != "-") {
    const auto mailbox = (*store)->directory()->mailbox(address);
    if (!mailbox || !*mailbox) {
      std::cerr << "no mailbox " << address << '\n';
      return 1;
    }
    mailstore::Owner owner;
    owner.mailbox = (*mailbox)->number;
    owner.delivered_to = address;
    envelope.owners.push_back(std::move(owner));
  }
  for (int i = 4; i < argc; ++i) {
    mailstore::Remote remote;
    remote.address = argv[i];
    envelope.remotes.push_back(std::move(remote));
  }
  const std::string message(std::istreambuf_iterator<char>(std::cin), {});
  const auto id = tools::run_awaitable(put(**store, std::move(envelope), message));
  if (!id) {
    std::cerr << id.error().detail << '\n';
    return 1;
  }
  std::cout << *id << '\n';
  return 0;
}
