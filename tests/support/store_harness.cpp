#include "tests/support/store_harness.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <utility>

#include "mailstore/record.hpp"
#include "mailstore/store.hpp"
#include "tests/support/wait_for.hpp"

namespace tests {

using namespace mailstore;

TempFolder::TempFolder(const std::filesystem::path& under) {
  const auto base = under.empty() ? std::filesystem::temp_directory_path() : under;
  auto name = (base / "pennypost-test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no folder for the test in " + base.string());
  path_ = name;
}

TempFolder::~TempFolder() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

std::filesystem::path memory_folder() {
  return ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : std::filesystem::temp_directory_path();
}

Options small_options(const std::filesystem::path& folder, std::vector<std::string>* warnings) {
  Options options{.path = folder};
  options.map_size = std::uint64_t{1} << 30U;
  options.reserve = 0;
  if (warnings != nullptr) {
    auto lock = std::make_shared<std::mutex>();
    options.warn = [warnings, lock](std::string_view what) {
      const std::lock_guard hold(*lock);
      warnings->emplace_back(what);
    };
  }
  return options;
}

std::string make_message(std::string_view marker, std::size_t size, std::uint64_t seed) {
  std::string octets = "Subject: ";
  octets.append(marker).append("\r\n\r\n");
  std::uint64_t state = seed * 0x9E3779B97F4A7C15U + 1;
  while (octets.size() < size) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    const auto kind = state >> 60U;
    if (kind == 0) {
      octets += "..a line that began with a dot\r\n";
    } else {
      octets.append(1 + (state >> 40U) % 70, static_cast<char>('a' + (state >> 33U) % 26)).append("\r\n");
    }
  }
  return octets;
}

std::uint64_t real_octets(std::string_view stored) {
  std::uint64_t dots = stored.starts_with('.') ? 1 : 0;
  for (auto at = stored.find("\r\n."); at != std::string_view::npos; at = stored.find("\r\n.", at + 2)) ++dots;
  return stored.size() - dots;
}

std::string address_of(MailboxNumber mailbox) {
  return "box" + std::to_string(std::to_underlying(mailbox)) + "@example.test";
}

std::string front_of(const Letter& letter, MailboxNumber mailbox) {
  return front_lines(letter.from, address_of(mailbox));
}

BodyFacts facts_of(std::string_view stored) {
  BodyFacts facts;
  facts.octets = real_octets(stored);
  const auto end = stored.find("\r\n\r\n");
  facts.header_octets = end == std::string_view::npos ? stored.size() : end + 4;
  facts.stuffed = facts.octets != stored.size();
  return facts;
}

namespace {

asio::awaitable<Result<MessageId>> deliver_one(Store& store, Letter letter) {
  auto beginning = store.begin();
  auto draft = co_await std::move(beginning);
  if (!draft) co_return std::unexpected(draft.error());
  const auto id = draft->id();
  std::string_view rest = letter.octets;
  while (!rest.empty()) {
    const auto piece = rest.substr(0, 7000);
    rest.remove_prefix(piece.size());
    draft->append(piece);
    if (!draft->wants_spill()) continue;
    auto spilling = draft->spill();
    const auto spilled = co_await std::move(spilling);
    if (!spilled) co_return std::unexpected(spilled.error());
  }
  Envelope envelope;
  envelope.reverse_path = letter.from;
  envelope.server = "test";
  for (const auto number : letter.to) {
    envelope.owners.push_back(
        {.mailbox = number, .delivered_to = address_of(number), .original_recipient = {}, .unique_id = {}});
  }
  envelope.remotes = letter.remotes;
  auto accepting = store.accept(std::move(*draft), std::move(envelope), facts_of(letter.octets));
  const auto accepted = co_await std::move(accepting);
  if (!accepted) co_return std::unexpected(accepted.error());
  co_return id;
}

asio::awaitable<Result<MessageId>> open_and_drop(Store& store, std::string octets) {
  auto beginning = store.begin();
  auto draft = co_await std::move(beginning);
  if (!draft) co_return std::unexpected(draft.error());
  draft->append(octets);
  if (draft->wants_spill()) {
    auto spilling = draft->spill();
    const auto spilled = co_await std::move(spilling);
    if (!spilled) co_return std::unexpected(spilled.error());
  }
  co_return draft->id();
}

}  // namespace

Result<MessageId> deliver(Store& store, const Letter& letter) {
  return wait_for(deliver_one(store, letter));
}

std::vector<Result<MessageId>> deliver_together(
    Store& store, std::span<const Letter> letters,
    const std::function<void(std::size_t, const Result<MessageId>&)>& told) {
  asio::io_context io(1);
  std::vector<Result<MessageId>> results(letters.size());
  auto body = [](Store& to, const Letter& letter, std::size_t place, std::vector<Result<MessageId>>& out,
                 const std::function<void(std::size_t, const Result<MessageId>&)>& tell) -> asio::awaitable<void> {
    auto delivering = deliver_one(to, letter);
    out[place] = co_await std::move(delivering);
    if (tell) tell(place, out[place]);
  };
  for (std::size_t i = 0; i < letters.size(); ++i) {
    asio::co_spawn(io, body(store, letters[i], i, results, told), [](std::exception_ptr error) {
      if (error) std::rethrow_exception(error);
    });
  }
  io.run();
  return results;
}

Result<MessageId> drop_draft(Store& store, std::string_view octets) {
  return wait_for(open_and_drop(store, std::string(octets)));
}

bool leave_delivery(Store& store, const Letter& letter, std::size_t turns, const std::function<void()>& close) {
  asio::io_context io(1);
  bool ended = false;
  auto body = [](Store& to, Letter what, bool& end) -> asio::awaitable<void> {
    auto delivering = deliver_one(to, std::move(what));
    (void)co_await std::move(delivering);
    end = true;
  };
  asio::co_spawn(io, body(store, letter, ended), asio::detached);
  for (std::size_t i = 0; i < turns && !ended; ++i) io.run_one();
  close();
  return !ended;
}

Result<std::uint64_t> remove(Store& store, const MaildropLock& lock, std::vector<MessageId> ids) {
  const auto result = wait_for(store.remove(lock, std::move(ids)));
  if (!result) return std::unexpected(result.error());
  return result->removed;
}

Result<std::uint64_t> remove(Store& store, MailboxNumber mailbox, std::vector<MessageId> ids) {
  const auto lock = store.lock_maildrop(mailbox);
  if (!lock) return std::unexpected(lock.error());
  return remove(store, *lock, std::move(ids));
}

Result<void> add_domain(Store& store, Domain domain) {
  return wait_for(store.add_domain(std::move(domain)));
}
Result<void> lock_domain(Store& store, std::string name, bool locked) {
  return wait_for(store.lock_domain(std::move(name), locked));
}
Result<void> change_domain(Store& store, std::string name, DomainChange change) {
  return wait_for(store.change_domain(std::move(name), std::move(change)));
}
Result<void> remove_domain(Store& store, std::string name, bool purge) {
  return wait_for(store.remove_domain(std::move(name), purge));
}
Result<MailboxNumber> add_mailbox(Store& store, std::string address) {
  return add_mailbox(store, NewMailbox{.address = std::move(address), .display = {}, .credential = {}});
}
Result<MailboxNumber> add_mailbox(Store& store, NewMailbox mailbox) {
  return wait_for(store.add_mailbox(std::move(mailbox)));
}
Result<void> change_mailbox(Store& store, std::string address, MailboxChange change) {
  return wait_for(store.change_mailbox(std::move(address), std::move(change)));
}
Result<void> remove_mailbox(Store& store, std::string address, bool purge) {
  return wait_for(store.remove_mailbox(std::move(address), purge));
}
Result<void> restore_mailbox(Store& store, std::string address) {
  return wait_for(store.restore_mailbox(std::move(address)));
}
Result<void> rename_mailbox(Store& store, std::string address, std::string to) {
  auto display = to;
  return wait_for(store.rename_mailbox(std::move(address), std::move(to), std::move(display)));
}
Result<PurgeResult> purge_removed(Store& store, std::uint64_t before) {
  return wait_for(store.purge_removed(before));
}
Result<bool> note_answered(Store& store, MailboxNumber mailbox, std::string sender, std::uint64_t when,
                           std::chrono::seconds period) {
  return wait_for(store.note_answered(mailbox, std::move(sender), when, period));
}
Result<void> put_alias(Store& store, Alias alias) {
  return wait_for(store.put_alias(std::move(alias)));
}
Result<void> remove_alias(Store& store, std::string address) {
  return wait_for(store.remove_alias(std::move(address)));
}

Result<std::vector<Entry>> entries(Store& store, MailboxNumber mailbox) {
  const auto view = store.peek(mailbox);
  if (!view) return std::unexpected(view.error());
  std::vector<Entry> all;
  std::array<Entry, 3> page;
  std::optional<MessageId> after;
  for (;;) {
    const auto found = store.list(*view, after, page);
    if (!found) return std::unexpected(found.error());
    all.insert(all.end(), page.begin(), page.begin() + static_cast<std::ptrdiff_t>(*found));
    if (*found < page.size()) return all;
    after = page.back().id;
  }
}

Result<std::string> read_message(Store& store, MailboxNumber mailbox, const Entry& entry, std::size_t scratch_octets) {
  std::vector<char> scratch(scratch_octets);
  const auto message = store.open_message(mailbox, entry, scratch, scratch_octets);
  if (!message) return std::unexpected(message.error());
  auto octets = message->front;
  octets.append(message->prefix);
  std::vector<char> piece(5000);
  for (std::uint64_t at = message->prefix.size(); at < message->stored_octets;) {
    const auto got = message->read(at, piece);
    if (!got) return std::unexpected(got.error());
    octets.append(piece.data(), *got);
    at += *got;
  }
  return octets;
}

std::string problems(Store& store) {
  const auto report = store.check();
  if (!report) return "check: " + report.error().detail;
  std::string all;
  for (const auto& problem : report->problems) all.append(problem).append("\n");
  return all;
}

int in_child(const std::function<int()>& work) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("fork");
  if (child == 0) {
    int code = 255;
    try {
      code = work();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "in the child: %s\n", error.what());
    }
    std::fflush(nullptr);
    _exit(code);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

namespace {
template <class T>
T must(Result<T> result, const char* what) {
  if (!result) throw std::runtime_error(std::string(what) + ": " + result.error().detail);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}
}  // namespace

TestStore::TestStore(std::size_t mailboxes, const std::function<void(Options&)>& adjust)
    : options_(std::make_unique<Options>(small_options(folder_.path() / "store", &warnings_))) {
  if (adjust) adjust(*options_);
  must(Store::init(*options_), "init");
  must(open(), "open");
  must(add_domain(*store_, Domain{.name = "example.test", .alias_of = {}}), "add_domain");
  for (std::size_t i = 0; i < mailboxes; ++i) {
    boxes_.push_back(must(add_mailbox(*store_, "u" + std::to_string(i) + "@example.test"), "add_mailbox"));
  }
}

TestStore::~TestStore() = default;

void TestStore::close() {
  store_.reset();
}

Result<void> TestStore::open() {
  auto opened = Store::open(*options_);
  if (!opened) return std::unexpected(opened.error());
  store_ = std::move(*opened);
  return {};
}

void TestStore::reopen() {
  close();
  must(open(), "open");
}

std::size_t TestStore::segment_files() const {
  const std::filesystem::directory_iterator files(path() / "segments");
  return static_cast<std::size_t>(std::distance(begin(files), end(files)));
}

}  // namespace tests
