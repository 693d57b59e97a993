#include "common/auth/verifier.hpp"

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>

#include "common/auth/remembered.hpp"

using namespace common::auth;
using common::Secret;

namespace {

// Cheap on purpose: MD5-crypt of "pennypost", SHA-256-crypt of the same.
constexpr std::string_view cheap = "$1$saltsalt$qVGkERDOVKOZRqjfKlRrb/";

Verdict verify(Verifier& verifier, std::uint64_t account, const StoredKeys& keys, std::string_view password) {
  asio::io_context context;
  auto verdict = Verdict::busy;
  const std::thread::id here = std::this_thread::get_id();
  auto ask = [&]() -> asio::awaitable<void> {
    const Secret secret{std::string{password}};
    verdict = co_await verifier.verify(account, keys, secret);
    CHECK(std::this_thread::get_id() == here);
  };
  asio::co_spawn(context, ask, asio::detached);
  context.run();
  return verdict;
}

}  // namespace

TEST_CASE("right, wrong, unknown, without a password") {
  Verifier verifier{2, 64};
  const StoredKeys keys{1, std::string{cheap}, ""};
  CHECK(verify(verifier, 5, keys, "pennypost") == Verdict::right);
  CHECK(verify(verifier, 5, keys, "pennyposts") == Verdict::wrong);
  CHECK(verify(verifier, 5, keys, "") == Verdict::wrong);
  CHECK(verify(verifier, 5, StoredKeys{}, "pennypost") == Verdict::wrong);
  CHECK(verify(verifier, 5, StoredKeys{0, std::string{cheap}, ""}, "pennypost") == Verdict::wrong);
  CHECK(verify(verifier, 5, StoredKeys{2, "", ""}, "pennypost") == Verdict::wrong);
  CHECK(verify(verifier, 0, StoredKeys{}, "nobody's password, for the time it takes") == Verdict::wrong);
}

TEST_CASE("a remembered password is answered fast, and another version of the credential forgets it") {
  Verifier verifier{1, 64};
  auto keys = StoredKeys{1, std::string{cheap}, ""};
  CHECK(verify(verifier, 5, keys, "pennypost") == Verdict::right);
  // The hash is gone, so only the memory can know.
  keys.password_hash = "*";
  CHECK(verify(verifier, 5, keys, "pennypost") == Verdict::right);
  CHECK(verify(verifier, 5, keys, "pennypost ") == Verdict::wrong);
  CHECK(verify(verifier, 6, keys, "pennypost") == Verdict::wrong);
  keys.version = 2;
  CHECK(verify(verifier, 5, keys, "pennypost") == Verdict::wrong);
}

TEST_CASE("nothing is remembered when nothing is to be") {
  Verifier verifier{1, 0};
  auto keys = StoredKeys{1, std::string{cheap}, ""};
  CHECK(verify(verifier, 5, keys, "pennypost") == Verdict::right);
  keys.password_hash = "*";
  CHECK(verify(verifier, 5, keys, "pennypost") == Verdict::wrong);
}

TEST_CASE("more checks than may wait: the rest is told to come back, all others are answered") {
  Verifier verifier{1, 0};
  const StoredKeys keys{1, std::string{cheap}, ""};
  asio::io_context context;
  int right = 0, busy = 0;
  const int asked = static_cast<int>(Verifier::most_waiting) + 100;
  auto ask = [&]() -> asio::awaitable<void> {
    const Secret secret{std::string{"pennypost"}};
    const auto verdict = co_await verifier.verify(5, keys, secret);
    (verdict == Verdict::right ? right : busy) += 1;
  };
  for (int i = 0; i < asked; ++i) asio::co_spawn(context, ask, asio::detached);
  context.run();
  CHECK(right + busy == asked);
  CHECK(right >= static_cast<int>(Verifier::most_waiting));
  CHECK(busy > 0);
}

TEST_CASE("the pool goes while checks wait: their callers are told") {
  asio::io_context context;
  int answered = 0;
  const StoredKeys keys{1, std::string{cheap}, ""};
  auto verifier = std::make_unique<Verifier>(1, 0);
  auto ask = [&]() -> asio::awaitable<void> {
    const Secret secret{std::string{"pennypost"}};
    co_await verifier->verify(5, keys, secret);
    ++answered;
  };
  for (int i = 0; i < 50; ++i) asio::co_spawn(context, ask, asio::detached);
  context.poll_one();
  while (context.poll_one() > 0 && answered == 0) continue;
  verifier.reset();
  context.run();
  CHECK(answered == 50);
}

TEST_CASE("memory is bounded, the recently used stays, one entry an account") {
  Remembered remembered{8};
  for (std::uint64_t account = 1; account <= 8; ++account)
    remembered.add(account, 1, remembered.digest(account, 1, "x"));
  for (std::uint64_t account = 1; account <= 8; ++account)
    CHECK(remembered.contains(account, 1, remembered.digest(account, 1, "x")));
  CHECK_FALSE(remembered.contains(3, 1, remembered.digest(3, 1, "y")));
  remembered.add(3, 2, remembered.digest(3, 2, "z"));
  CHECK_FALSE(remembered.contains(3, 1, remembered.digest(3, 1, "x")));
  CHECK(remembered.contains(3, 2, remembered.digest(3, 2, "z")));
  for (std::uint64_t account = 1; account <= 8; ++account)
    CHECK(remembered.contains(account, account == 3 ? 2 : 1,
                              remembered.digest(account, account == 3 ? 2 : 1, account == 3 ? "z" : "x")));
  for (std::uint64_t account = 100; account < 1000; ++account)
    remembered.add(account, 1, remembered.digest(account, 1, "x"));
  int held = 0;
  for (std::uint64_t account = 100; account < 1000; ++account)
    held += remembered.contains(account, 1, remembered.digest(account, 1, "x")) ? 1 : 0;
  CHECK(held == 8);
}
