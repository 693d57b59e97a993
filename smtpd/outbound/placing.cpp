#include <algorithm>
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

constexpr std::size_t page_size = 150;
/// Messages that are written and synced together.
constexpr std::size_t most_at_once = 150;
constexpr std::uint64_t octets_at_once = std::uint64_t{32} << 20U;
/// A folder of this machine is asked again soon: nobody else is bothered.
constexpr std::chrono::minutes folder_rest{1};
constexpr std::size_t head_octets = 4096;

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
  const bool open = !held_ && !run.row.suspended;
  const bool round = open && run.row.next_round <= now();
  std::optional<mailstore::QueuePlace> after;
  std::optional<mailstore::DuePlace> after_due;
  for (bool more = false; !stopping_ && !run.over();) {
    if (!more) {
      auto& line = lines_[run.domain];
      auto arrived = std::exchange(line.arrived, std::nullopt);
      const bool everything = std::exchange(line.again, false);
      if (!everything && !arrived) co_return;
      after = everything ? std::nullopt : std::move(arrived);
      after_due.reset();
    }
    std::vector<mailstore::QueuedRecipient> recipients;
    if (round) {
      auto page = queue_.ready(run.domain, now(), after, page_size);
      if (!page) co_return;
      recipients = std::move(page->recipients);
      after = std::move(page->last);
      more = page->more;
    } else {
      auto page = queue_.due(run.domain, now(), after_due, page_size);
      if (!page) co_return;
      recipients = std::move(page->recipients);
      after_due = page->last;
      more = page->more;
    }
    std::vector<Parcel> parcels;
    std::uint64_t octets = 0;
    std::optional<mailstore::MessageId> last;
    for (auto& recipient : recipients) {
      const auto id = recipient.name.id;
      const bool elsewhere = recipient.state == mailstore::QueueState::bounce || !recipient.reroute.empty();
      if (elsewhere && (open || recipient.reroute.empty())) {
        Group group{id, recipient.server, recipient.reroute, {}};
        group.recipients.push_back(std::move(recipient));
        auto going = attempt(run, std::move(group));
        co_await std::move(going);
        continue;
      }
      if (!open || elsewhere || last == id) continue;
      last = id;
      // All of it that waits, though the page ends within.
      auto all = queue_.recipients(id);
      if (!all) co_return;
      std::erase_if(*all, [&](const mailstore::QueuedRecipient& each) {
        return each.name.domain != run.domain || each.state != mailstore::QueueState::waiting ||
               !each.reroute.empty() || each.due > now();
      });
      if (all->empty()) continue;
      octets += all->front().octets;
      auto& parcel = parcels.emplace_back();
      parcel.recipients = std::move(*all);
      if (parcels.size() < most_at_once && octets < octets_at_once) continue;
      auto placing = place(run, std::exchange(parcels, {}));
      const bool placed = co_await std::move(placing);
      if (!placed || stopping_) co_return;
      octets = 0;
    }
    if (parcels.empty()) continue;
    auto placing = place(run, std::move(parcels));
    const bool placed = co_await std::move(placing);
    if (!placed) co_return;
  }
}

/// False: the folder is in trouble, and so is everything else that would go there.
asio::awaitable<bool> Scheduler::place(Run& run, std::vector<Parcel> parcels) {
  const auto plans = this->plans();
  std::vector<mailstore::QueuedRecipient> placing;
  std::vector<mailstore::Settlement> no_folder;
  std::erase_if(parcels, [&](Parcel& parcel) {
    // Those of whom the queue says that they are placed, whatever has become of their server since.
    std::erase_if(parcel.recipients, [&](mailstore::QueuedRecipient& each) {
      if (each.placing.empty()) return false;
      placing.push_back(std::move(each));
      return true;
    });
    if (parcel.recipients.empty()) return true;
    const auto& first = parcel.recipients.front();
    const auto* plan = plan_of(*plans, first.server);
    if (plan == nullptr || !plan->drop) {
      for (const auto& each : parcel.recipients) {
        auto attempt = trouble_with(now(), "the virtual server " + first.server + " has no home, so no drop folder");
        no_folder.push_back({each.name, mailstore::Stays{std::move(attempt), now() + folder_rest}});
      }
      return true;
    }
    parcel.folder = plan->drop;
    parcel.scratch.resize(head_octets);
    auto opened = queue_.open_message(first.name.id, parcel.scratch, 0);
    if (!opened) {
      log::error("queue.message_unreadable",
                 {{"id", mailstore::format_id(first.name.id)}, {"why", opened.error().detail}});
      return true;
    }
    parcel.message.emplace(std::move(*opened));
    parcel.envelope = parcel.message->envelope();
    std::vector<std::string> receivers;
    for (const auto& each : parcel.recipients) receivers.push_back(each.address);
    const auto name = folders::drop_file_name(mailstore::format_id(first.name.id), first.name.ordinal);
    parcel.file.file = parcel.folder->path() / name;
    // Before anything is written there: should it become another folder meanwhile, the mark is not that one's.
    parcel.placing = folders::format_placing({folders::folder_mark(parcel.folder->path()), parcel.file.file.native()});
    parcel.file.front = folders::format_drop_envelope(
        parcel.envelope.reverse_path, receivers, parcel.message->stuffed ? folders::Dots::some : folders::Dots::none);
    return false;
  });
  if (!no_folder.empty()) co_await settle(std::move(no_folder));
  if (!placing.empty()) co_await finish_placing(std::move(placing));
  if (parcels.empty()) co_return true;

  std::vector<folders::FileToPut> files;
  for (auto& parcel : parcels) {
    parcel.file.body = &*parcel.message;
    files.push_back(parcel.file);
  }
  // The work ends before its coroutine goes on, and nothing of it is destroyed before that.
  auto work = [&files] { return folders::write_hidden(files); };
  auto writing = on_files(std::move(work));
  const auto written = co_await std::move(writing);
  if (!written) {
    log::error("drop.failed", {{"domain", run.domain}, {"why", written.error()}});
    auto attempt = trouble_with(now(), "the drop folder: " + written.error());
    std::vector<mailstore::Round> rounds{{run.domain, now() + folder_rest, std::move(attempt)}};
    co_await settle({}, std::move(rounds));
    co_return false;
  }
  std::vector<mailstore::Settlement> said;
  for (const auto& parcel : parcels) {
    for (const auto& each : parcel.recipients) said.push_back({each.name, mailstore::Placing{parcel.placing}});
  }
  co_await settle(std::move(said));
  run.on_answer();
  if (stopping_) co_return false;
  std::vector<mailstore::QueuedRecipient> placed;
  for (std::size_t i = 0; i < parcels.size(); ++i) {
    auto& parcel = parcels[i];
    parcel.folder->on_put(parcel.recipients.front().octets, files[i].octets);
    for (auto& each : parcel.recipients) {
      each.placing = parcel.placing;
      placed.push_back(std::move(each));
    }
  }
  co_await finish_placing(std::move(placed));
  co_return true;
}

/// The last two steps, for those of whom the queue says that they are placed.
asio::awaitable<void> Scheduler::finish_placing(std::vector<mailstore::QueuedRecipient> recipients) {
  std::vector<folders::FileToPut> files;
  for (const auto& each : recipients) {
    const auto [mark, file] = folders::parse_placing(each.placing);
    if (files.empty() || files.back().file != file) files.push_back({file, std::string{mark}, {}, nullptr, 0});
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
