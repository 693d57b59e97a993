#pragma once

#include <doctest/doctest.h>

#include <string>

#include "mailstore/failure.hpp"
#include "mailstore/types.hpp"

namespace tests {

/// The code of the Failure that `work` throws; nullopt: it did not.
template <class Work>
std::optional<mailstore::Errc> failure_of(Work&& work) {
  try {
    work();
  } catch (const mailstore::Failure& failure) {
    return failure.error().code;
  }
  return std::nullopt;
}

template <class T>
std::optional<mailstore::Errc> error_of(const mailstore::Result<T>& result) {
  if (result) return std::nullopt;
  return result.error().code;
}

/// The value, or the test ends with the reason.
template <class T>
T got(mailstore::Result<T> result) {
  if (!result) FAIL(result.error().detail);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace tests

namespace doctest {
template <>
struct StringMaker<std::optional<mailstore::Errc>> {
  static String convert(const std::optional<mailstore::Errc>& code) {
    constexpr const char* names[] = {"not_found", "exists",      "in_use",  "conflict",
                                     "full",      "unavailable", "corrupt", "unusable"};
    return code ? names[static_cast<std::size_t>(*code)] : "no error";
  }
};
}  // namespace doctest
