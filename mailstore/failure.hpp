#pragma once

#include <cerrno>
#include <cstring>
#include <exception>
#include <string>
#include <system_error>
#include <utility>

#include "mailstore/types.hpp"

/// Inside mailstore a failed store or file call is an exception; at the interface `guarded` makes an Error of it.
namespace mailstore {

class Failure final : public std::exception {
 public:
  explicit Failure(Error error) : error_(std::move(error)) {}
  Failure(Errc code, std::string detail) : error_{code, std::move(detail)} {}
  const Error& error() const { return error_; }
  const char* what() const noexcept override { return error_.detail.c_str(); }

 private:
  Error error_;
};

/// The error of a file call that just set errno: no room is `full`, everything else `unavailable`.
inline Error from_errno(std::string what, int number = errno) {
  const bool room = number == ENOSPC || number == EDQUOT || number == EFBIG;
  what += ": ";
  what += std::strerror(number);  // NOLINT(concurrency-mt-unsafe): glibc's is thread-safe
  return Error{room ? Errc::full : Errc::unavailable, std::move(what)};
}

template <class F>
auto guarded(F&& work) -> decltype(work()) {
  try {
    return std::forward<F>(work)();
  } catch (const Failure& failure) {
    return std::unexpected(failure.error());
  } catch (const std::system_error& error) {
    // Of the standard library: a folder that cannot be listed, a thread that cannot be made.
    return std::unexpected(Error{Errc::unavailable, error.what()});
  }
}

}  // namespace mailstore
