#include "smtpd/folders/taker.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <utility>

#include "common/log.hpp"

namespace smtpd::folders {
namespace {

namespace log = common::log;
constexpr auto awaitable = asio::experimental::as_tuple(asio::use_awaitable);

/// Read and committed side by side: they share a sync.
constexpr std::size_t at_once = 128;
/// Rows forgotten in one commit, behind one sync of the folder.
constexpr std::size_t forgotten_at_once = 256;
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

std::expected<void, std::string> Taker::start() {
  const auto trouble = [&](const char* what) {
    return std::unexpected(fmt::format("{}: {}: {}", setup_.folder.string(), what, std::strerror(errno)));
  };
  folder_ = ::open(setup_.folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder_ < 0) return trouble("it cannot be opened");
  // Another daemon with another store would take what we take.
  if (::flock(folder_, LOCK_EX | LOCK_NB) != 0) return trouble("another smtpd takes its files");
  const int events = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (events < 0) return trouble("it cannot be watched");
  events_.assign(events);
  // Before the first look: what comes meanwhile is told.
  if (::inotify_add_watch(events, setup_.folder.c_str(), IN_MOVED_TO | IN_CLOSE_WRITE | IN_ONLYDIR) < 0)
    return trouble("it cannot be watched");
  auto before = store_.taken_origins(setup_.source + ' ');
  if (!before) return std::unexpected(std::move(before.error().detail));
  left_over_.insert(before->begin(), before->end());
  clear_away();
  asio::co_spawn(context_, watch(), asio::detached);
  asio::co_spawn(context_, look_regularly(), asio::detached);
  return {};
}

void Taker::stop() {
  stopping_ = true;
  queue_.clear();
  asio::error_code ignored;
  events_.cancel(ignored);
  again_.cancel();
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
    if (event.len != 0) add(std::string{name.substr(0, name.find('\0'))});
  }
  if (overflow) look();
}

void Taker::look() {
  for (auto& name : names_in(folder_)) add(std::move(name));
  go_on();
}

void Taker::add(std::string name) {
  if (stopping_ || name.empty() || name.front() == '.') return;
  // The next look finds it.
  if (std::chrono::steady_clock::now() < resting_until_ || !names_.insert(name).second) return;
  queue_.push_back(std::move(name));
  go_on();
}

void Taker::go_on() {
  while (!queue_.empty() && under_way_ < at_once) {
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
    away_.insert(away_.end(), left_over_.begin(), left_over_.end());
    left_over_.clear();
  }
  if (settling_ || away_.empty() || (!rest && away_.size() < forgotten_at_once)) return;
  settling_ = true;
  asio::co_spawn(context_, settle(), [this](const std::exception_ptr&) {
    settling_ = false;
    if (!stopping_) go_on();
  });
}

asio::awaitable<void> Taker::take(std::string name) {
  // Not on the caller's stack: a thousand files that are refused at once would be a thousand calls deep.
  co_await asio::post(context_, asio::use_awaitable);
  auto opened = OpenedFile::open(folder_, name);
  if (!opened) {
    const auto& refusal = opened.error();
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
    put_away(name, origin);
    co_return;
  }
  if (refused_.contains(name) && refused_[name] == origin) co_return;
  auto accepting = accept(*opened, name, origin);
  const bool accepted = co_await std::move(accepting);
  if (accepted) put_away(name, origin);
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

void Taker::put_away(const std::string& name, std::string origin) {
  // Hidden first: what has come under its name meanwhile is another file.
  const auto hidden = std::string{hidden_front} + origin.substr(setup_.source.size() + 1);
  if (::renameat(folder_, name.c_str(), folder_, hidden.c_str()) != 0) {
    if (errno == ENOENT) return away_.push_back(std::move(origin));
    // Remembered as long as it is there: it is not taken again.
    log::warning("folder.stuck", {{"source", setup_.source}, {"file", name}, {"why", std::strerror(errno)}});
    return;
  }
  setup_.passed(Moment::hidden);
  const auto found = OpenedFile::open(folder_, hidden);
  if (found && setup_.source + ' ' + found->identity() != origin) {
    // Back to be taken; under a name of its own, should its old one be in use again.
    if (::renameat2(folder_, hidden.c_str(), folder_, name.c_str(), RENAME_NOREPLACE) != 0)
      ::renameat(folder_, hidden.c_str(), folder_, (found->identity() + ".again").c_str());
    return;
  }
  if (::unlinkat(folder_, hidden.c_str(), 0) != 0 && errno != ENOENT) {
    log::warning("folder.stuck", {{"source", setup_.source}, {"file", hidden}, {"why", std::strerror(errno)}});
    return;
  }
  setup_.passed(Moment::unlinked);
  away_.push_back(std::move(origin));
}

/// What the last one had hidden and not unlinked.
void Taker::clear_away() {
  for (const auto& name : names_in(folder_)) {
    if (!name.starts_with(hidden_front)) continue;
    const auto found = OpenedFile::open(folder_, name);
    if (!found) continue;
    const auto before = store_.taken(setup_.source + ' ' + found->identity());
    if (before && *before) {
      ::unlinkat(folder_, name.c_str(), 0);
    } else if (before) {
      ::renameat(folder_, name.c_str(), folder_, (found->identity() + ".again").c_str());
    }
  }
}

asio::awaitable<void> Taker::settle() {
  auto origins = std::exchange(away_, {});
  if (::fsync(folder_) != 0) {
    // They stay remembered until the next start.
    log::error("folder.failed", {{"source", setup_.source}, {"why", std::strerror(errno)}});
    co_return;
  }
  setup_.passed(Moment::synced);
  auto forgetting = store_.forget_taken(std::move(origins));
  const auto forgotten = co_await std::move(forgetting);
  if (!forgotten) log::warning("folder.failed", {{"source", setup_.source}, {"why", forgotten.error().detail}});
  setup_.passed(Moment::forgotten);
}

void Taker::refuse(const std::string& name, const std::string& origin, const Unread& unread) {
  const auto& why = unread.text;
  if (setup_.refused(folder_, name, unread)) return;
  auto& known = refused_[name];
  if (known == origin) return;
  known = origin;
  if (refused_.size() > refused_limit) refused_.erase(refused_.begin());
  log::warning("folder.refused", {{"source", setup_.source}, {"file", name}, {"why", why}});
}

}  // namespace smtpd::folders
