#include <algorithm>
#include <asio/co_spawn.hpp>
#include <utility>

#include "common/log.hpp"

#include "mailstore/awaitable.hpp"

#include "smtpd/folders/drop_file.hpp"
#include "smtpd/folders/placed_in.hpp"
#include "smtpd/outbound/scheduler_run.hpp"

/// Mail for drop domains: a file for each message, with its envelope in front, in the drop folder of the virtual server
/// that took it (LEGACY S14). Put exactly once: the octets are on stable storage under a hidden name, then the queue
/// says that they are being placed, then the file gets its name, then it leaves the queue. Who finds the hidden name
/// gone behind the second step knows that the third was made.
namespace smtpd::outbound {
namespace {

namespace log = common::log;

/// Messages that are written and synced together, and read from the queue together: what one commit settles.
constexpr std::size_t most_at_once = 450;
constexpr std::uint64_t octets_at_once = std::uint64_t{32} << 20U;
/// One is written while others wait for the store.
constexpr std::uint32_t most_batches = 3;
/// Of those that go another way, at a time.
constexpr std::uint32_t most_elsewhere = 10;
/// Of a message, that are read with its envelope.
constexpr std::size_t first_octets = 64 * 1024;
/// A folder of this machine is asked again soon: nobody else is bothered.
constexpr std::chrono::minutes folder_rest{1};

mailstore::Attempt trouble_with(Time at, std::string what) {
  mailstore::Attempt attempt;
  attempt.at = at;
  attempt.answer = {0, "4.2.0", std::move(what)};
  return attempt;
}

}  // namespace

mailstore::Result<bool> Scheduler::is_drop_domain(const std::string& domain) {
  const auto directory = store_.directory();
  const auto found = directory->domain(domain);
  if (!found) {
    log::error("queue.failed", {{"domain", domain}, {"why", found.error().detail}});
    return std::unexpected(found.error());
  }
  return *found && (*found)->kind == mailstore::DomainKind::drop;
}

/// Work with files, off this thread.
asio::awaitable<std::expected<void, std::string>> Scheduler::on_files(
    std::move_only_function<std::expected<void, std::string>()> work) {
  auto start = [this, work = std::move(work)](auto done) mutable {
    asio::post(files_, [work = std::move(work), done = std::move(done)]() mutable { done(work()); });
  };
  return mailstore::await_completion<std::expected<void, std::string>>(std::move(start));
}

/// As do_round, for a domain whose mail goes into files.
asio::awaitable<void> Scheduler::place_round(Run& run) {
  run.folder_failed = false;
  const bool open = !is_closed(run);
  const bool round = open && run.row.next_round <= now();
  std::optional<mailstore::QueuePlace> after;
  std::optional<mailstore::DuePlace> after_due;
  std::vector<Parcel> parcels;
  std::uint64_t octets = 0;
  for (bool more = false; !stopping_ && !run.folder_failed && open == !is_closed(run);) {
    if (!more) {
      auto& line = lines_[run.domain];
      auto arrived = std::exchange(line.arrived, std::nullopt);
      const bool everything = std::exchange(line.again, false);
      if (!everything && !arrived) {
        // What does not fill a batch waits for those under way: more comes to it meanwhile, and shares its syncs.
        if (run.under_way > 0) {
          co_await run.next_end();
          continue;
        }
        if (parcels.empty()) break;
        octets = 0;
        launch_parcels(run, std::exchange(parcels, {}));
        continue;
      }
      after = everything ? std::nullopt : std::move(arrived);
      after_due.reset();
    }
    std::vector<mailstore::QueuedRecipient> recipients;
    if (round) {
      auto page = queue_.ready(run.domain, now(), after, most_at_once);
      if (!page) break;
      recipients = std::move(page->recipients);
      after = std::move(page->last);
      more = page->more;
    } else {
      auto page = queue_.due(run.domain, now(), after_due, most_at_once);
      if (!page) break;
      recipients = std::move(page->recipients);
      after_due = page->last;
      more = page->more;
    }
    // Now, before anything waits: what is in hand at this moment was read because it is not settled yet.
    std::vector<Parcel> found;
    std::vector<Group> elsewhere;
    for (auto& recipient : recipients) {
      const auto id = recipient.name.id;
      const bool bounce = recipient.state == mailstore::QueueState::bounce;
      if (!bounce && !open) continue;
      Hold hold{*this};
      if (!hold.take(recipient.name)) continue;
      if (bounce || !recipient.reroute.empty()) {
        hold.give_up();
        elsewhere.push_back({id, recipient.server, recipient.reroute, 0, {}});
        elsewhere.back().recipients.push_back(std::move(recipient));
        continue;
      }
      if (found.empty() || found.back().recipients.front().name.id != id) {
        found.push_back({std::move(hold), {}, nullptr, {}, {}, 0});
      } else {
        found.back().hold.join(std::move(hold));
      }
      found.back().recipients.push_back(std::move(recipient));
    }
    for (auto& parcel : found) {
      // Those of its recipients that another page would bring: by age they follow one another, by time they do not.
      const bool whole = round && (!more || &parcel != &found.back());
      if (!whole && !complete(run, parcel)) continue;
      octets += parcel.recipients.front().octets;
      parcels.push_back(std::move(parcel));
      if (parcels.size() < most_at_once && octets < octets_at_once) continue;
      while (run.under_way >= most_batches) co_await run.next_end();
      if (stopping_ || run.folder_failed) break;
      octets = 0;
      launch_parcels(run, std::exchange(parcels, {}));
    }
    for (auto& group : elsewhere) {
      while (run.under_way >= most_elsewhere) co_await run.next_end();
      begin_attempt(run, std::move(group));
    }
  }
  while (run.under_way > 0) co_await run.next_end();
}

/// All recipients of a message that wait for the same file.
mailstore::Result<void> Scheduler::complete(Run& run, Parcel& parcel) {
  auto all = queue_.recipients(parcel.recipients.front().name.id);
  if (!all) return std::unexpected(all.error());
  for (auto& each : *all) {
    if (each.name.domain != run.domain || each.state != mailstore::QueueState::waiting || !each.reroute.empty() ||
        each.due > now() || !parcel.hold.take(each.name))
      continue;
    parcel.recipients.push_back(std::move(each));
  }
  std::ranges::sort(parcel.recipients, {}, [](const auto& each) { return each.name.ordinal; });
  return {};
}

/// Begins with these, beside others that are under way.
void Scheduler::launch_parcels(Run& run, std::vector<Parcel> parcels) {
  ++run.under_way;
  auto placing = place(run, std::move(parcels));
  asio::co_spawn(worker_.context(), std::move(placing), [&run](const std::exception_ptr& error, bool placed) {
    --run.under_way;
    run.ended.cancel();
    run.folder_failed = run.folder_failed || !placed;
    if (!error) return;
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& wrong) {
      log::error("drop.failed", {{"domain", run.domain}, {"why", wrong.what()}});
    }
  });
}

/// False: the folder is in trouble, and so is everything else that would go there.
asio::awaitable<bool> Scheduler::place(Run& run, std::vector<Parcel> parcels) {
  const auto plans = this->plans();
  std::vector<mailstore::QueuedRecipient> placing;
  std::vector<mailstore::Settlement> no_folder;
  std::vector<Parcel*> to_write;
  std::filesystem::path marked;
  std::string mark;
  for (auto& parcel : parcels) {
    // Those of whom the queue says that they are placed, whatever has become of their server since.
    std::erase_if(parcel.recipients, [&](mailstore::QueuedRecipient& each) {
      if (each.placing.empty()) return false;
      placing.push_back(std::move(each));
      return true;
    });
    if (parcel.recipients.empty()) continue;
    const auto& first = parcel.recipients.front();
    const auto* plan = plan_of(*plans, first.server);
    if (plan == nullptr || !plan->drop) {
      for (const auto& each : parcel.recipients) {
        auto attempt = trouble_with(now(), "the virtual server " + first.server + " has no home, so no drop folder");
        no_folder.push_back({each.name, mailstore::Stays{std::move(attempt), now() + folder_rest}});
      }
      continue;
    }
    parcel.folder = plan->drop;
    // Before anything is written there: should it become another folder meanwhile, the mark is not that one's.
    if (marked != parcel.folder->path()) {
      marked = parcel.folder->path();
      mark = folders::folder_mark(marked);
    }
    parcel.file = marked / folders::drop_file_name(mailstore::format_id(first.name.id), first.name.ordinal);
    parcel.placing = folders::format_placing({mark, parcel.file.native()});
    to_write.push_back(&parcel);
  }
  if (!no_folder.empty()) co_await settle(std::move(no_folder));
  if (!placing.empty()) co_await finish_placing(std::move(placing));
  if (to_write.empty()) co_return true;

  // The work ends before its coroutine goes on, and nothing of it is destroyed before that.
  auto work = [this, &to_write] { return write_parcels(to_write); };
  auto writing = on_files(std::move(work));
  const auto written = co_await std::move(writing);
  if (!written) {
    // Said once, whoever is under way beside it.
    if (std::exchange(run.folder_failed, true)) co_return false;
    log::error("drop.failed", {{"domain", run.domain}, {"why", written.error()}});
    auto attempt = trouble_with(now(), "the drop folder: " + written.error());
    std::vector<mailstore::Round> rounds{{run.domain, now() + folder_rest, std::move(attempt)}};
    co_await settle({}, std::move(rounds));
    co_return false;
  }
  std::vector<mailstore::Settlement> said;
  std::erase_if(to_write, [&](const Parcel* parcel) {
    if (parcel->octets != 0) return false;
    for (const auto& each : parcel->recipients) {
      auto attempt = trouble_with(now(), "the message could not be read");
      said.push_back({each.name, mailstore::Stays{std::move(attempt), now() + folder_rest}});
    }
    return true;
  });
  for (const auto* parcel : to_write) {
    for (const auto& each : parcel->recipients) said.push_back({each.name, mailstore::Placing{parcel->placing}});
  }
  co_await settle(std::move(said));
  run.on_answer();
  if (stopping_) co_return false;
  std::vector<mailstore::QueuedRecipient> placed;
  for (auto* parcel : to_write) {
    parcel->folder->on_put(parcel->recipients.front().octets, parcel->octets);
    for (auto& each : parcel->recipients) {
      each.placing = parcel->placing;
      placed.push_back(std::move(each));
    }
  }
  co_await finish_placing(std::move(placed));
  co_return true;
}

/// On a thread of files.
std::expected<void, std::string> Scheduler::write_parcels(const std::vector<Parcel*>& parcels) {
  folders::HiddenFiles hidden{parcels.size()};
  std::vector<char> scratch(first_octets);
  for (auto* parcel : parcels) {
    const auto id = parcel->recipients.front().name.id;
    const auto opened = queue_.open_message(id, scratch, scratch.size());
    if (!opened) {
      log::error("queue.message_unreadable", {{"id", mailstore::format_id(id)}, {"why", opened.error().detail}});
      continue;
    }
    std::vector<std::string> receivers;
    receivers.reserve(parcel->recipients.size());
    for (const auto& each : parcel->recipients) receivers.push_back(each.address);
    const auto front = folders::format_drop_envelope(opened->envelope().reverse_path, receivers,
                                                     opened->stuffed ? folders::Dots::some : folders::Dots::none);
    const auto octets = hidden.write(parcel->file, front, *opened);
    if (!octets) return std::unexpected(octets.error());
    parcel->octets = *octets;
  }
  return hidden.sync();
}

/// The last two steps, for those of whom the queue says that they are placed.
asio::awaitable<void> Scheduler::finish_placing(std::vector<mailstore::QueuedRecipient> recipients) {
  std::vector<folders::PlacedFile> files;
  for (const auto& each : recipients) {
    const auto [mark, file] = folders::parse_placing(each.placing);
    if (files.empty() || files.back().file != file) files.push_back({file, std::string{mark}});
  }
  auto work = [&files] { return folders::uncover(files); };
  auto uncovering = on_files(std::move(work));
  const auto uncovered = co_await std::move(uncovering);
  if (!uncovered) {
    // Not to be written again: it may be there.
    log::error("drop.failed", {{"why", uncovered.error()}});
    std::vector<mailstore::Settlement> later;
    for (const auto& each : recipients) {
      auto attempt = trouble_with(now(), "the drop folder: " + uncovered.error());
      later.push_back({each.name, mailstore::Stays{std::move(attempt), now() + folder_rest}});
    }
    co_await settle(std::move(later));
    co_return;
  }
  std::vector<mailstore::Settlement> leave;
  for (const auto& each : recipients) {
    mailstore::Attempt attempt;
    attempt.at = now();
    attempt.answer = {0, "2.0.0", "it is in the drop folder"};
    attempt.peer = each.placing.substr(each.placing.rfind('/') + 1);
    delivered_.fetch_add(1, std::memory_order_relaxed);
    log::info("message.delivered", {{"id", mailstore::format_id(each.name.id)},
                                    {"to", each.address},
                                    {"peer", "drop"},
                                    {"why", folders::parse_placing(each.placing).file}});
    leave.push_back({each.name, mailstore::Leaves{mailstore::QueueOutcome::delivered, std::move(attempt)}});
  }
  co_await settle(std::move(leave));
}

}  // namespace smtpd::outbound
