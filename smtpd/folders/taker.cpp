#include "smtpd/folders/taker.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <asio/co_spawn.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iterator>
#include <utility>

#include "common/log.hpp"
#include "common/net/listening.hpp"

namespace smtpd::folders {
namespace {

namespace log = common::log;
using common::net::Descriptor;
constexpr auto awaitable = asio::experimental::as_tuple(asio::use_awaitable);

/// Read and committed side by side: they share a sync.
constexpr std::size_t at_once = 128;
/// Rows forgotten in one commit, behind one sync of the folder.
constexpr std::size_t forgotten_at_once = 256;
/// Each of them is an open file.
constexpr std::size_t away_limit = 384;
/// Files that were made and not closed are remembered up to here, and as long since they were written to.
constexpr std::size_t unclosed_limit = 10'000;
constexpr std::chrono::seconds unclosed_patience{60};
/// Files that are refused are remembered up to here, so that each is told once.
constexpr std::size_t refused_limit = 10'000;
/// When the store has no room, or a filter is gone: no file has better luck than the one before.
constexpr std::chrono::seconds rest_after_trouble{5};
/// Of a file that is in the store, until it is unlinked.
constexpr std::string_view hidden_front = ".taken ";

std::vector<std::string> names_in(int folder) {
  std::vector<std::string> names;
  const int again = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> listing{again < 0 ? nullptr : ::fdopendir(again), ::closedir};
  if (!listing) {
    log::error("folder.failed", {{"why", std::strerror(errno)}});
    if (again >= 0) ::close(again);
    return names;
  }
  while (const auto* entry = ::readdir(listing.get())) names.emplace_back(entry->d_name);
  return names;
}

}  // namespace

Taker::Taker(asio::io_context& context, mailstore::Store& store, Setup setup)
    : context_(context), store_(store), setup_(std::move(setup)), events_(context), again_(context) {}

Taker::~Taker() {
  if (folder_ >= 0) ::close(folder_);
}

/// Opened, locked, and watched before the first look: what comes meanwhile is told.
std::expected<int, std::string> Taker::open_folder() {
  const auto trouble = [&](const char* what) {
    return std::unexpected(fmt::format("{}: {}: {}", setup_.folder.string(), what, std::strerror(errno)));
  };
  Descriptor folder{::open(setup_.folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (folder.get() < 0) return trouble("it cannot be opened");
  // Another daemon with another store would take what we take.
  if (::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) return trouble("another smtpd takes its files");
  const int watched = ::inotify_add_watch(events_.native_handle(), setup_.folder.c_str(),
                                          IN_MOVED_TO | IN_CLOSE_WRITE | IN_CREATE | IN_MODIFY | IN_ONLYDIR);
  if (watched < 0) return trouble("it cannot be watched");
  watched_ = watched;
  return folder.release();
}

std::expected<void, std::string> Taker::start() {
  const int events = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (events < 0)
    return std::unexpected(fmt::format("{}: it cannot be watched: {}", setup_.folder.string(), std::strerror(errno)));
  events_.assign(events);
  auto folder = open_folder();
  if (!folder) return std::unexpected(std::move(folder.error()));
  folder_ = *folder;
  auto before = store_.taken_origins(setup_.source + ' ');
  if (!before) return std::unexpected(std::move(before.error().detail));
  left_over_.insert(before->begin(), before->end());
  clear_away();
  run_loop(watch());
  run_loop(look_regularly());
  return {};
}

void Taker::run_loop(asio::awaitable<void> loop) {
  ++loops_;
  asio::co_spawn(context_, std::move(loop), [this](const std::exception_ptr&) { --loops_; });
}

void Taker::stop() {
  stopping_ = true;
  queue_.clear();
  asio::error_code ignored;
  events_.cancel(ignored);
  again_.cancel();
  release();
}

/// When nothing needs it any more; with it goes the lock.
void Taker::release() {
  if (!stopping_ || !idle() || folder_ < 0) return;
  ::close(std::exchange(folder_, -1));
}

/// Once, until it is another trouble.
void Taker::tell_trouble(const char* event, std::string what) {
  if (trouble_ == what) return;
  trouble_ = std::move(what);
  if (!trouble_.empty()) log::warning(event, {{"source", setup_.source}, {"why", trouble_}});
}

/// What somebody put under the folder's path since is the folder, once nothing of the old one is in hand.
void Taker::follow_folder() {
  struct stat ours{};
  struct stat there{};
  if (::fstat(folder_, &ours) != 0) return;
  if (::stat(setup_.folder.c_str(), &there) != 0) {
    return tell_trouble("folder.moved", fmt::format("{}: {}; what comes into the one that was there is still taken",
                                                    setup_.folder.string(), std::strerror(errno)));
  }
  if (ours.st_ino == there.st_ino && ours.st_dev == there.st_dev) return tell_trouble("folder.moved", {});
  if (!idle() || !away_.empty()) return;
  if (auto fit = setup_.check(); !fit) return tell_trouble("folder.moved", fit.error());
  const int before = watched_;
  auto folder = open_folder();
  if (!folder) return tell_trouble("folder.moved", folder.error());
  ::inotify_rm_watch(events_.native_handle(), before);
  ::close(std::exchange(folder_, *folder));
  refused_.clear();
  log::warning("folder.moved",
               {{"source", setup_.source},
                {"why", setup_.folder.string() + " is another folder; files are taken from that one now"}});
}

asio::awaitable<void> Taker::look_regularly() {
  while (!stopping_) {
    look();
    again_.expires_after(setup_.look_again);
    co_await again_.async_wait(awaitable);
  }
}

asio::awaitable<void> Taker::watch() {
  std::array<char, 16 * 1024> octets;
  while (!stopping_) {
    const auto [error] = co_await events_.async_wait(asio::posix::stream_descriptor::wait_read, awaitable);
    if (error || stopping_) co_return;
    const auto got = ::read(events_.native_handle(), octets.data(), octets.size());
    if (got > 0) on_events({octets.data(), static_cast<std::size_t>(got)});
  }
}

void Taker::on_events(std::string_view octets) {
  bool overflow = false;
  while (octets.size() >= sizeof(inotify_event)) {
    inotify_event event{};
    std::memcpy(&event, octets.data(), sizeof event);
    octets.remove_prefix(sizeof event);
    const auto name = octets.substr(0, event.len);
    octets.remove_prefix(event.len);
    overflow = overflow || (event.mask & IN_Q_OVERFLOW) != 0;
    if (event.len != 0) on_event(event.mask, std::string{name.substr(0, name.find('\0'))});
  }
  if (overflow) look();
}

/// Whoever makes a file under its name and writes it piece by piece has not finished it before he closes it; of another
/// user's file nothing else tells.
void Taker::on_event(std::uint32_t mask, std::string name) {
  if ((mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) != 0) {
    unclosed_.erase(name);
    return add(std::move(name));
  }
  if (name.front() == '.' || unclosed_.size() >= unclosed_limit) return;
  struct stat about{};
  const bool written = (mask & IN_MODIFY) != 0 || (::fstatat(folder_, name.c_str(), &about, AT_SYMLINK_NOFOLLOW) == 0 &&
                                                   S_ISREG(about.st_mode) && about.st_nlink == 1);
  if (written) unclosed_[std::move(name)] = std::chrono::steady_clock::now();
}

bool Taker::is_unclosed(const std::string& name) {
  const auto known = unclosed_.find(name);
  if (known == unclosed_.end()) return false;
  if (std::chrono::steady_clock::now() - known->second < unclosed_patience) return true;
  unclosed_.erase(known);
  return false;
}

void Taker::look() {
  settle_failed_ = false;
  follow_folder();
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(unclosed_, [&](const auto& each) { return now - each.second >= unclosed_patience; });
  for (auto& name : names_in(folder_)) add(std::move(name));
  go_on();
}

void Taker::add(std::string name) {
  if (stopping_ || name.empty() || name.front() == '.') return;
  // The next look finds it.
  if (std::chrono::steady_clock::now() < resting_until_ || is_unclosed(name) || !names_.insert(name).second) return;
  queue_.push_back(std::move(name));
  go_on();
}

void Taker::go_on() {
  while (!queue_.empty() && under_way_ < at_once && away_.size() < away_limit) {
    auto name = std::move(queue_.front());
    queue_.pop_front();
    ++under_way_;
    asio::co_spawn(context_, take(name), [this, name](const std::exception_ptr& error) {
      --under_way_;
      names_.erase(name);
      try {
        if (error) std::rethrow_exception(error);
      } catch (const std::exception& trouble) {
        log::error("folder.failed", {{"source", setup_.source}, {"file", name}, {"why", trouble.what()}});
      }
      go_on();
    });
  }
  const bool rest = under_way_ == 0 && queue_.empty();
  // A look that was broken off has not seen all that is there.
  if (rest && !stopping_ && std::exchange(first_look_, false)) {
    // Their files are gone: it was between unlink and here that the last one ended.
    if (!unsure_) {
      for (const auto& origin : left_over_) away_.push_back({origin, nullptr});
    }
    left_over_.clear();
  }
  if (settling_ || settle_failed_ || away_.empty() || (!rest && away_.size() < forgotten_at_once)) return release();
  settling_ = true;
  asio::co_spawn(context_, settle(), [this](const std::exception_ptr&) {
    settling_ = false;
    if (!stopping_) go_on();
    release();
  });
}

asio::awaitable<void> Taker::take(std::string name) {
  // Not on the caller's stack: a thousand files that are refused at once would be a thousand calls deep.
  co_await asio::post(context_, asio::use_awaitable);
  auto opened = OpenedFile::open(folder_, name);
  if (!opened) {
    const auto& refusal = opened.error();
    if (!refusal.identity.empty()) {
      left_over_.erase(setup_.source + ' ' + refusal.identity);
    } else if (refusal.why == OpenedFile::Refusal::Why::trouble) {
      unsure_ = true;
    }
    if (refusal.why == OpenedFile::Refusal::Why::no_mail)
      refuse(name, refusal.text, {Unread::Why::broken, refusal.text});
    if (refusal.why == OpenedFile::Refusal::Why::trouble)
      log::warning("folder.waits", {{"source", setup_.source}, {"file", name}, {"why", refusal.text}});
    co_return;
  }
  setup_.passed(Moment::opened);
  const auto origin = setup_.source + ' ' + opened->identity();
  left_over_.erase(origin);
  const auto before = store_.taken(origin);
  if (!before) {
    log::warning("folder.waits", {{"source", setup_.source}, {"file", name}, {"why", before.error().detail}});
    co_return;
  }
  if (*before) {
    log::info("folder.taken_before",
              {{"source", setup_.source}, {"file", name}, {"id", mailstore::format_id(**before)}});
    put_away(name, origin, std::move(*opened));
    co_return;
  }
  if (const auto known = refused_.find(name); known != refused_.end() && known->second.origin == origin) {
    const auto unread = known->second.unread;
    refuse(name, origin, unread);
    co_return;
  }
  auto accepting = accept(*opened, name, origin);
  const bool accepted = co_await std::move(accepting);
  if (accepted) put_away(name, origin, std::move(*opened));
}

asio::awaitable<bool> Taker::accept(const OpenedFile& file, const std::string& name, const std::string& origin) {
  auto beginning = setup_.read(file);
  auto reading = co_await std::move(beginning);
  if (const auto* unread = std::get_if<Unread>(&reading)) {
    leave(name, origin, *unread);
    co_return false;
  }
  setup_.passed(Moment::read);
  auto accepting = setup_.accept(file, std::get<Message>(std::move(reading)), origin);
  const auto unread = co_await std::move(accepting);
  if (unread) {
    leave(name, origin, *unread);
    co_return false;
  }
  taken_.fetch_add(1, std::memory_order_relaxed);
  setup_.passed(Moment::committed);
  co_return true;
}

/// A file that is not taken, now or ever.
void Taker::leave(const std::string& name, const std::string& origin, const Unread& unread) {
  if (unread.why == Unread::Why::broken) return refuse(name, origin, unread);
  if (unread.why == Unread::Why::busy) return;
  log::warning("folder.waits", {{"source", setup_.source}, {"file", name}, {"why", unread.text}});
  if (unread.why != Unread::Why::trouble || first_look_) return;
  resting_until_ = std::chrono::steady_clock::now() + rest_after_trouble;
  for (const auto& waiting : queue_) names_.erase(waiting);
  queue_.clear();
}

void Taker::tell_stuck(const std::string& name, const char* why) {
  log::warning("folder.stuck", {{"source", setup_.source}, {"file", name}, {"why", why}});
}

void Taker::put_away(const std::string& name, std::string origin, OpenedFile file) {
  // Hidden first: what has come under its name meanwhile is another file. Remembered, and not taken again, is whatever
  // may still be there under some name.
  const auto hidden = std::string{hidden_front} + origin.substr(setup_.source.size() + 1);
  const auto gone = [&] { away_.push_back({std::move(origin), std::make_unique<const OpenedFile>(std::move(file))}); };
  if (::renameat(folder_, name.c_str(), folder_, hidden.c_str()) != 0) {
    if (errno != ENOENT) return tell_stuck(name, std::strerror(errno));
    if (!file.has_name()) gone();
    return;
  }
  setup_.passed(Moment::hidden);
  const auto found = OpenedFile::open(folder_, hidden);
  if (!found) {
    if (!file.has_name()) return gone();
    return tell_stuck(hidden, found.error().text.c_str());
  }
  if (setup_.source + ' ' + found->identity() != origin) {
    // Back to be taken; under a name of its own, should its old one be in use again.
    if (::renameat2(folder_, hidden.c_str(), folder_, name.c_str(), RENAME_NOREPLACE) != 0)
      ::renameat(folder_, hidden.c_str(), folder_, (found->identity() + ".again").c_str());
    if (!file.has_name()) gone();
    return;
  }
  if (::unlinkat(folder_, hidden.c_str(), 0) != 0 && errno != ENOENT) return tell_stuck(hidden, std::strerror(errno));
  setup_.passed(Moment::unlinked);
  if (!file.has_name()) gone();
}

/// What the last one had hidden and not unlinked. What cannot be unlinked stays remembered.
void Taker::clear_away() {
  for (const auto& name : names_in(folder_)) {
    if (!name.starts_with(hidden_front)) continue;
    const auto found = OpenedFile::open(folder_, name);
    const auto identity = found ? found->identity() : name.substr(hidden_front.size());
    const auto origin = setup_.source + ' ' + identity;
    if (!found) {
      if (found.error().why == OpenedFile::Refusal::Why::gone) continue;
      left_over_.erase(origin);
      tell_stuck(name, found.error().text.c_str());
      continue;
    }
    const auto before = store_.taken(origin);
    if (!before) {
      left_over_.erase(origin);
      tell_stuck(name, before.error().detail.c_str());
    } else if (!*before) {
      ::renameat(folder_, name.c_str(), folder_, (identity + ".again").c_str());
    } else if (::unlinkat(folder_, name.c_str(), 0) != 0 && errno != ENOENT) {
      left_over_.erase(origin);
      tell_stuck(name, std::strerror(errno));
    }
  }
}

asio::awaitable<void> Taker::settle() {
  auto away = std::exchange(away_, {});
  const auto again = [&](const char* why) {
    log::warning("folder.failed", {{"source", setup_.source}, {"why", why}});
    settle_failed_ = true;
    std::ranges::move(away_, std::back_inserter(away));
    away_ = std::move(away);
  };
  if (::fsync(folder_) != 0) {
    again(std::strerror(errno));
    co_return;
  }
  setup_.passed(Moment::synced);
  std::vector<std::string> origins;
  origins.reserve(away.size());
  for (const auto& each : away) origins.push_back(each.origin);
  auto forgetting = store_.forget_taken(std::move(origins));
  const auto forgotten = co_await std::move(forgetting);
  if (!forgotten) {
    again(forgotten.error().detail.c_str());
    co_return;
  }
  setup_.passed(Moment::forgotten);
}

void Taker::refuse(const std::string& name, const std::string& origin, const Unread& unread) {
  const auto now = std::chrono::steady_clock::now();
  const auto known = refused_.find(name);
  const bool before = known != refused_.end() && known->second.origin == origin;
  if (before && (setup_.refused_again.count() == 0 || now < known->second.again)) return;
  if (setup_.refused(folder_, name, unread, before ? Try::again : Try::first)) {
    refused_.erase(name);
    return;
  }
  refused_.insert_or_assign(name, Refused{origin, unread, now + setup_.refused_again});
  if (before) return;
  if (refused_.size() > refused_limit) refused_.erase(refused_.begin());
  log::warning("folder.refused", {{"source", setup_.source}, {"file", name}, {"why", unread.text}});
}

}  // namespace smtpd::folders
