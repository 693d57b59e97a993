#include "common/secret.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <utility>

using common::Secret;

TEST_CASE("a secret prints as three stars") {
  const Secret secret{std::string{"open sesame"}};
  CHECK(fmt::format("password={}", secret) == "password=***");
  CHECK(fmt::format("[{:>5}]", secret) == "[  ***]");
  CHECK(secret.reveal() == "open sesame");
}

TEST_CASE("a secret that moved leaves nothing behind") {
  Secret from{std::string{"short"}};
  const char* place = from.reveal().data();  // a short text lies in the object itself
  const Secret to{std::move(from)};
  CHECK(to.reveal() == "short");
  CHECK(from.empty());
  CHECK(std::string_view(place, 5) == std::string_view("\0\0\0\0\0", 5));

  Secret third;
  Secret fourth{std::string{"fourth"}};
  third = std::move(fourth);
  CHECK(third.reveal() == "fourth");
  CHECK(fourth.empty());
}
