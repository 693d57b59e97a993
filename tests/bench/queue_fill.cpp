// Puts recipients into the queue of a store, for tests/bench/queue_restart.py:
//
//   queue_fill STORE DOMAINS EACH      EACH recipients in each of d0.bench.test, d1.bench.test, ...; 1,000 a message
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <utility>

#include "mailstore/store.hpp"

namespace {

constexpr std::size_t recipients_a_message = 1000;

asio::awaitable<void> fill(mailstore::Store& store, std::uint64_t domains, std::uint64_t each) {
  const std::string body = "Subject: waits\r\n\r\nIt waits.\r\n";
  for (std::uint64_t put = 0; put < domains * each;) {
    mailstore::Envelope envelope;
    envelope.reverse_path = "ann@example.test";
    envelope.server = "submission";
    while (put < domains * each && envelope.remotes.size() < recipients_a_message) {
      mailstore::Remote remote;
      remote.address = "u" + std::to_string(put / domains) + "@d" + std::to_string(put % domains) + ".bench.test";
      envelope.remotes.push_back(std::move(remote));
      ++put;
    }
    auto beginning = store.begin();
    auto draft = co_await std::move(beginning);
    if (!draft) throw std::runtime_error(draft.error().detail);
    draft->append(body);
    mailstore::BodyFacts facts;
    facts.octets = body.size();
    facts.header_octets = 18;
    auto accepting = store.accept(std::move(*draft), std::move(envelope), facts);
    const auto accepted = co_await std::move(accepting);
    if (!accepted) throw std::runtime_error(accepted.error().detail);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return std::fprintf(stderr, "queue_fill STORE DOMAINS EACH\n"), 2;
  mailstore::Options options{.path = argv[1]};
  auto store = mailstore::Store::open(options);
  if (!store) return std::fprintf(stderr, "%s\n", store.error().detail.c_str()), 1;
  asio::io_context io(1);
  int status = 0;
  asio::co_spawn(io, fill(**store, std::strtoull(argv[2], nullptr, 10), std::strtoull(argv[3], nullptr, 10)),
                 [&](const std::exception_ptr& error) {
                   if (!error) return;
                   try {
                     std::rethrow_exception(error);
                   } catch (const std::exception& wrong) {
                     std::fprintf(stderr, "%s\n", wrong.what());
                   }
                   status = 1;
                 });
  io.run();
  return status;
}
