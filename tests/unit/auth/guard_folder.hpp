#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>

/// A folder that goes when the test goes.
class GuardFolder {
 public:
  GuardFolder() {
    char name[] = "/tmp/guard-test-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path_ = name;
  }
  ~GuardFolder() { std::filesystem::remove_all(path_); }
  GuardFolder(const GuardFolder&) = delete;
  GuardFolder& operator=(const GuardFolder&) = delete;
  std::filesystem::path file() const { return path_ / "guard"; }

 private:
  std::filesystem::path path_;
};
