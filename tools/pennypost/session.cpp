#include "tools/pennypost/session.hpp"

#include <sys/stat.h>

#include <fmt/format.h>

#include "tools/pennypost/owner.hpp"

namespace tools {

const common::config::Config& Session::config() {
  if (!config_) {
    auto loaded = common::config::load(common::config::config_path(config_option));
    if (!loaded) {
      for (const auto& mistake : loaded.error()) complain(common::config::format_mistake(mistake));
      throw Failure{Status::usage, {}};
    }
    config_ = std::move(loaded->config);
  }
  return *config_;
}

mailstore::Options Session::store_options() {
  const auto& settings = config().suite.store;
  mailstore::Options options;
  options.path = settings.path;
  options.map_size = settings.map_size;
  options.reserve = settings.reserve;
  options.keep_done = std::chrono::duration_cast<std::chrono::seconds>(settings.keep_done);
  options.warn = [](std::string_view trouble) { complain("warning: " + std::string(trouble)); };
  return options;
}

mailstore::Store& Session::store() {
  return store([](mailstore::Options&) {});
}

mailstore::Store& Session::store(const std::function<void(mailstore::Options&)>& adjust) {
  if (!store_) {
    auto options = store_options();
    adjust(options);
    become_owner_of(options.path, config().suite.run.user);
    umask(077);
    const auto path = options.path.string();
    auto opened = mailstore::Store::open(std::move(options));
    if (!opened) fail_with(opened.error(), fmt::format("the store {} could not be opened", path));
    store_ = std::move(*opened);
  }
  return *store_;
}

void fail_with(const mailstore::Error& error, const std::string& what) {
  using enum mailstore::Errc;
  std::string_view remedy;
  switch (error.code) {
    case not_found:
    case exists:
    case conflict:
    case unusable:
      break;  // the detail says what to do
    case in_use:
      remedy = "somebody is logged in to it; try again when the session has ended";
      break;
    case full:
      remedy = "make room on the store's disk (see [store] reserve) and try again";
      break;
    case unavailable:
      remedy = "nothing was changed; look at the disk and the system's log, then try again";
      break;
    case corrupt:
      remedy = "run 'pennypost store check'";
      break;
  }
  std::string sentence = what;
  if (!error.detail.empty()) sentence += ": " + error.detail;
  if (!remedy.empty()) sentence += fmt::format("; {}", remedy);
  fail(std::move(sentence));
}

}  // namespace tools
