#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/config/config.hpp"
#include "mailstore/store.hpp"
#include "tools/pennypost/failure.hpp"
#include "tools/pennypost/output.hpp"

namespace tools {

/// What every command may use: the options that work with all of them, the configuration and the store, each opened
/// when it is first asked for and once.
class Session {
 public:
  std::string config_option;  ///< -c
  bool json_option = false;   ///< --json

  Format format() const { return json_option ? Format::json : Format::text; }
  Report report() const { return Report(format()); }

  /// Refused (usage) with every mistake named when the configuration is broken.
  const common::config::Config& config();
  /// Becomes the store's owner first, when run as root, so that no file of ours locks the daemons out.
  mailstore::Store& store();
  /// The same with other options than a command's usual ones; before any other use of the store.
  mailstore::Store& store(const std::function<void(mailstore::Options&)>& adjust);
  mailstore::Options store_options();
  std::unique_ptr<mailstore::DirectoryView> directory() { return store().directory(); }

 private:
  std::optional<common::config::Config> config_;
  std::shared_ptr<mailstore::Store> store_;
};

/// The value, or the command ends. `what` begins the sentence: the thing that could not be done or read, in a few
/// words.
[[noreturn]] void fail_with(const mailstore::Error& error, const std::string& what);
template <class T>
T need(mailstore::Result<T> result, const std::string& what) {
  if (!result) fail_with(result.error(), what);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace tools
