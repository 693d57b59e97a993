// Makes the index anew from segments and journal alone.
#include <fmt/format.h>
#include <sodium/core.h>
#include <sodium/randombytes.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "mailstore/change.hpp"
#include "mailstore/queue_rows.hpp"
#include "mailstore/segment_scan.hpp"
#include "mailstore/store_impl.hpp"

namespace mailstore {
namespace {
namespace fs = std::filesystem;

constexpr std::size_t rows_at_once = 20'000;

/// The newest row of each key, by the number of the commit that wrote it.
class NewestRows {
 public:
  void take(std::uint64_t commit, std::string_view key, std::string_view value) {
    auto& row = rows_[std::string(key)];
    if (commit >= row.commit) row = {.commit = commit, .value = std::string(value)};
  }
  /// Null: there is none, or it is gone.
  const std::string* find(const std::string& key) const {
    const auto at = rows_.find(key);
    return at == rows_.end() || at->second.value.empty() ? nullptr : &at->second.value;
  }
  template <class Each>
  void each_living(Each each) const {
    for (const auto& [key, row] : rows_) {
      if (!row.value.empty()) each(key, row.value);
    }
  }

 private:
  struct Row {
    std::uint64_t commit = 0;
    std::string value;  // empty: gone
  };
  std::map<std::string, Row> rows_;
};

struct OwnerOf {
  std::uint32_t mailbox;
  std::uint64_t id;
  friend bool operator==(const OwnerOf&, const OwnerOf&) = default;
};
struct OwnerHash {
  std::size_t operator()(const OwnerOf& of) const {
    return std::hash<std::uint64_t>()(of.id * 0x9E3779B97F4A7C15U + of.mailbox);
  }
};

struct QueueIdHash {
  std::size_t operator()(const QueueId& of) const {
    return std::hash<std::uint64_t>()(of.id.value * 0x9E3779B97F4A7C15U + of.ordinal);
  }
};

struct FoundSegment {
  std::uint64_t octets = 0, live_records = 0, live_octets = 0;
  bool streamed = false;
  bool damaged = false;
};

struct FoundMailbox {
  std::uint32_t number;
  std::string address;
};

class Rebuilder {
 public:
  Rebuilder(const Options& options, const Layout& layout, const Identity& identity, RebuildReport& report,
            const std::function<void(std::uint64_t)>& progress)
      : options_(options),
        files_(options.files != nullptr ? *options.files : system_files()),
        layout_(layout),
        identity_(identity),
        report_(report),
        progress_(progress),
        segments_(files_, layout.segments) {}

  void run() {
    read_journals();
    decode_directory();
    for (const auto number : segment_numbers()) read_segment(number);
    const auto made = layout_.root + "/index.new";
    fs::remove_all(made);
    if (::mkdir(made.c_str(), 0700) != 0) throw Failure(from_errno(made));
    {
      Index index;
      index.open(made, options_.map_size, true);
      write_directory(index);
      write_messages(index);
      write_queue(index);
      write_numbers(index);  // last: without them nobody opens it
    }
    if (files_.sync_folder(made) != 0) throw Failure(from_errno(made));
    put_in_place(made);
  }

 private:
  void problem(std::string what) {
    if (report_.problems.size() < 1000) report_.problems.push_back(std::move(what));
  }

  // ---- what the journal tells

  void read_journals() {
    std::vector<fs::path> paths;
    for (const auto& file : fs::directory_iterator(layout_.journal)) {
      if (file.path().extension() == ".log") paths.push_back(file.path());
    }
    std::ranges::sort(paths);
    for (const auto& path : paths) {
      std::ifstream in(path, std::ios::binary);
      const std::string octets(std::istreambuf_iterator<char>(in), {});
      if (in.bad()) throw Failure(from_errno("reading " + path.string()));
      const auto damaged = read_journal(octets, [&](const JournalEntry& entry) { take(entry); });
      if (damaged > 0) {
        problem(
            fmt::format("the journal {} is damaged in {} places: messages removed and people changed there are as "
                        "they were before",
                        path.filename().string(), damaged));
      }
    }
  }

  void take(const JournalEntry& entry) {
    commits_ = std::max(commits_, entry.commit);
    Decoder from(entry.payload, "entry of the journal");
    switch (entry.kind) {
      case JournalKind::removed:
      case JournalKind::refused: {
        const auto mailbox = from.number<std::uint32_t>();
        const auto id = from.number<std::uint64_t>();
        gone_.insert({.mailbox = mailbox, .id = id});
        last_id_ = std::max(last_id_, id);  // its record may be gone, and the clock behind it
        next_mailbox_ = std::max<std::uint64_t>(next_mailbox_, mailbox);
        return;
      }
      case JournalKind::left: {
        const MessageId id{from.number<std::uint64_t>()};
        left_.insert({.id = id, .ordinal = from.number<std::uint16_t>()});
        return;
      }
      case JournalKind::domain:
      case JournalKind::mailbox:
      case JournalKind::alias:
      case JournalKind::number:
      case JournalKind::queued:
      case JournalKind::queue_domain:
      case JournalKind::auto_reply:
      case JournalKind::taken:
        break;
    }
    const auto key = from.text();
    const auto value = from.text();
    if (entry.kind == JournalKind::domain) domains_.take(entry.commit, key, value);
    if (entry.kind == JournalKind::alias) aliases_.take(entry.commit, key, value);
    if (entry.kind == JournalKind::auto_reply) auto_replies_.take(entry.commit, key, value);
    if (entry.kind == JournalKind::taken) taken_.take(entry.commit, key, value);
    if (entry.kind == JournalKind::queued) queued_.take(entry.commit, key, value);
    if (entry.kind == JournalKind::queue_domain) queue_domains_.take(entry.commit, key, value);
    if (entry.kind == JournalKind::mailbox) {
      mailboxes_.take(entry.commit, key, value);
      if (value.empty()) return;
      const auto row = decode_mailbox(key, value);
      const auto number = std::to_underlying(row.mailbox.number);
      ever_.insert(number);
      next_mailbox_ = std::max<std::uint64_t>(next_mailbox_, number);
      credential_ = std::max(credential_, row.mailbox.credential.version);
    }
  }

  void decode_directory() {
    mailboxes_.each_living([&](const std::string& key, const std::string& value) {
      numbers_[std::to_underlying(decode_mailbox(key, value).mailbox.number)] = key;
    });
  }

  // ---- what the segments tell

  std::vector<std::uint64_t> segment_numbers() const {
    std::vector<std::uint64_t> numbers;
    for (const auto& file : fs::directory_iterator(layout_.segments)) {
      const auto stem = file.path().stem().string();
      std::uint64_t number = 0;
      const auto [end, error] = std::from_chars(stem.data(), stem.data() + stem.size(), number, 16);
      if (error == std::errc{} && end == stem.data() + stem.size() && file.path().extension() == ".seg")
        numbers.push_back(number);
    }
    std::ranges::sort(numbers);
    return numbers;
  }

  struct Candidate {
    RecordHeader header;
    std::string envelope;
    std::uint32_t head_octets;
  };

  void read_segment(std::uint64_t number) {
    next_segment_ = std::max(next_segment_, number);
    const auto source = segments_.get(number);
    if (!source) return;
    std::vector<Candidate> records;
    std::set<std::uint32_t> named;
    std::uint32_t newest = 0;
    const auto scan = scan_segment(*source, identity_.name, identity_.key, [&](const ScannedRecord& record) {
      records.push_back({record.header, std::string(record.envelope), record.head_octets});
      named.insert(record.header.last_batch);
      newest = std::max(newest, record.header.batch);
    });
    auto& found = found_[number];
    found.octets = scan.octets;
    found.streamed = scan.streamed;
    found.damaged = !scan.ours || scan.damaged > 0;
    if (!scan.ours)
      problem(fmt::format("segment {:016x} is not one of this store, or its beginning is damaged", number));
    if (scan.damaged > 0) {
      // The end of a segment whose writer died looks like this too.
      problem(fmt::format("segment {:016x}: {} stretches are no record", number, scan.damaged));
    }
    for (const auto& record : records) {
      // Of a batch that failed its sender was told so; the newest is believed, for nobody can have named it yet.
      if (record.header.batch != newest && !named.contains(record.header.batch)) continue;
      take_record(number, *source, record);
    }
    segments_.forget(number);
  }

  void take_record(std::uint64_t number, const OpenMessage::Source& source, const Candidate& record) {
    const auto& header = record.header;
    if (++report_.records % 1000 == 0 && progress_) progress_(report_.records);
    last_id_ = std::max(last_id_, header.id.value);
    if (messages_.contains(header.id.value)) return;  // a compaction was at work when all stopped
    const auto envelope = guarded([&]() -> Result<Envelope> { return decode_envelope(record.envelope); });
    if (!envelope || !body_is_sound(source, header)) {
      found_[number].damaged = true;
      problem(fmt::format("message {}: its record in segment {:016x} is damaged", format_id(header.id), number));
      return;
    }
    MessageRow row{.segment = number,
                   .head_offset = header.offset,
                   .body_offset = header.body_offset,
                   .stored_octets = header.stored_octets,
                   .head_octets = record.head_octets,
                   .owners = 0,
                   .stuffed = header.stuffed};
    std::uint16_t ordinal = 0;
    for (const auto& owner : envelope->owners) {
      const auto place = ordinal++;
      const auto mailbox = std::to_underlying(owner.mailbox);
      if (gone_.contains({.mailbox = mailbox, .id = header.id.value})) continue;
      if (!numbers_.contains(mailbox)) {
        if (ever_.contains(mailbox)) continue;  // purged
        // Made in a stretch of the journal that is lost: the mail says whose it is.
        adopt(mailbox, owner.delivered_to);
      }
      auto& box = entries_[mailbox];
      if (!box.empty() && box.back().id == header.id) continue;
      box.push_back({.id = header.id,
                     .octets = header.octets + front_octets(envelope->reverse_path, owner.delivered_to),
                     .header_octets = header.header_octets,
                     .ordinal = place});
      ++row.owners;
    }
    row.owners += queue_remotes(header, *envelope);
    if (row.owners == 0) return;
    auto& segment = found_[number];
    segment.live_records += 1;
    segment.live_octets += record_octets(row);
    messages_.emplace(header.id.value, row);
  }

  /// Who of the remotes is still to be served; what people said of them holds on.
  std::uint32_t queue_remotes(const RecordHeader& header, const Envelope& envelope) {
    std::uint32_t queued = 0;
    std::uint16_t ordinal = 0;
    for (const auto& remote : envelope.remotes) {
      const auto place = ordinal++;
      if (left_.contains({.id = header.id, .ordinal = place}) || !can_be_queued(remote.address)) continue;
      QueuedRecipient row{.name = {queue_domain_of(remote.address), header.id, place},
                          .address = remote.address,
                          .reverse_path = remote.returns_to.empty() ? envelope.reverse_path : remote.returns_to,
                          .server = envelope.server,
                          .octets = header.octets,
                          .notify = remote.notify};
      if (const auto* told = queued_.find(queue_key(row.name))) row = decode_queued(row.name, *told);
      queue_.push_back(std::move(row));
      ++queued;
    }
    return queued;
  }

  void adopt(std::uint32_t number, const std::string& address) {
    next_mailbox_ = std::max<std::uint64_t>(next_mailbox_, number);
    std::string domain = address.substr(address.rfind('@') + 1);
    std::string key = address_key(address);
    bool taken = false;
    mailboxes_.each_living([&](const std::string& other, const std::string&) { taken = taken || other == key; });
    std::string free_address = address;
    if (taken) {
      free_address = fmt::format("recovered-{}@{}", number, domain);
      key = address_key(free_address);
    }
    MailboxRow row;
    row.mailbox.number = MailboxNumber{number};
    row.mailbox.address = free_address;
    row.mailbox.display = free_address;
    std::string value;
    encode(row, value);
    mailboxes_.take(commits_ + 1, key, value);
    bool there = false;
    domains_.each_living([&](const std::string& name, const std::string&) { there = there || name == domain; });
    if (!there) {
      std::string domain_row;
      encode(Domain{.name = domain}, domain_row);
      domains_.take(commits_ + 1, domain, domain_row);
    }
    numbers_[number] = key;
    problem(fmt::format("mailbox {}: the journal does not know it; it has no password now", free_address));
  }

  // ---- the new index

  /// Runs `each` for every element, with a transaction for so many of them.
  template <class Range, class Each>
  void in_pieces(Index& index, const Range& range, Each each) {
    auto at = range.begin();
    while (at != range.end()) {
      lmdb::Txn txn(index.env(), 0);
      for (std::size_t i = 0; i < rows_at_once && at != range.end(); ++i, ++at) each(txn.get(), *at);
      txn.commit();
    }
  }

  void write_directory(Index& index) {
    const auto& tables = index.tables();
    lmdb::Txn txn(index.env(), 0);
    domains_.each_living([&](const std::string& key, const std::string& value) {
      lmdb::put(txn.get(), tables.domains, key, value);
      ++report_.domains;
    });
    aliases_.each_living(
        [&](const std::string& key, const std::string& value) { lmdb::put(txn.get(), tables.aliases, key, value); });
    auto_replies_.each_living([&](const std::string& key, const std::string& value) {
      if (key.size() == 4 && numbers_.contains(from_big_endian<std::uint32_t>(key.data())))
        lmdb::put(txn.get(), tables.auto_replies, key, value);
    });
    // Whatever has become of the message since: the file may still lie there.
    taken_.each_living([&](const std::string& origin, const std::string& value) {
      lmdb::put(txn.get(), tables.taken, origin, value);
    });
    txn.commit();
    std::vector<std::pair<std::string, std::string>> rows;
    mailboxes_.each_living([&](const std::string& key, const std::string& value) { rows.emplace_back(key, value); });
    report_.mailboxes = rows.size();
    in_pieces(index, rows, [&](MDB_txn* to, const auto& row) {
      lmdb::put(to, tables.mailboxes, row.first, row.second);
      lmdb::put(to, tables.mailbox_numbers, MailboxKey(decode_mailbox(row.first, row.second).mailbox.number),
                row.first);
    });
  }

  void write_messages(Index& index) {
    const auto& tables = index.tables();
    in_pieces(index, messages_, [&](MDB_txn* to, const auto& message) {
      std::string value;
      encode(message.second, value);
      lmdb::put(to, tables.messages, NumberKey(message.first), value);
    });
    report_.messages = messages_.size();
    for (auto& [mailbox, entries] : entries_) {
      std::ranges::sort(entries, {}, &Entry::id);
      Totals totals;
      const MailboxNumber number{mailbox};
      in_pieces(index, entries, [&](MDB_txn* to, const Entry& entry) {
        auto placed = entry;
        placed.arrival = ++totals.arrivals;
        totals.messages += 1;
        totals.octets += entry.octets;
        std::string value;
        encode(placed, value);
        lmdb::put(to, tables.maildrop, MaildropKey(number, entry.id.value), value);
        value.clear();
        encode(totals, value);
        lmdb::put(to, tables.maildrop, MaildropKey(number, totals_id), value);
      });
      report_.entries += entries.size();
    }
  }

  void write_queue(Index& index) {
    report_.queued = queue_.size();
    in_pieces(index, queue_, [&](MDB_txn* to, const QueuedRecipient& row) {
      Change change(index, to);
      change.add_queued(row);
      change.settle();
    });
    lmdb::Txn txn(index.env(), 0);
    queue_domains_.each_living([&](const std::string& name, const std::string& value) {
      const auto told = decode_queue_domain(name, value);
      auto row = index.queue_domain(txn.get(), name).value_or(QueueDomain{.name = name});
      row.suspended = true;
      row.reason = told.reason;
      row.since = told.since;
      Change(index, txn.get()).put_queue_domain(row);
    });
    // Outcomes of the last second before a crash may be missing: a person says when it goes on.
    if (!queue_.empty()) {
      index.put_queue_status(
          txn.get(),
          {.held = true,
           .reason = "the index was rebuilt: look through 'pennypost queue list' for what has left already",
           .since = std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now())});
    }
    txn.commit();
  }

  void write_numbers(Index& index) {
    lmdb::Txn txn(index.env(), 0);
    for (const auto& [number, segment] : found_) {
      // One that is damaged keeps its row and so its file: somebody may want to look at it.
      if (segment.live_records == 0 && !segment.damaged) continue;
      index.put_segment(txn.get(), number,
                        SegmentRow{.state = SegmentState::sealed,
                                   .streamed = segment.streamed,
                                   .durable = segment.octets,
                                   .live_records = segment.live_records,
                                   .live_octets = segment.live_octets,
                                   .unproven = {}});
    }
    index.set_number(txn.get(), meta::generation, 1 + randombytes_uniform(4095));
    const auto now = options_.clock ? options_.clock() : microseconds_since_2020();
    index.set_number(txn.get(), meta::id_limit, std::max(last_id_ >> 12U, now) + IdSource::window);
    index.set_number(txn.get(), meta::next_segment, next_segment_);
    index.set_number(txn.get(), meta::next_mailbox, next_mailbox_);
    index.set_number(txn.get(), meta::commits, commits_ + 1);
    index.set_number(txn.get(), meta::credential, credential_);
    index.set_number(txn.get(), meta::format, format_version);
    txn.commit();
  }

  void put_in_place(const std::string& made) {
    for (int suffix = 1;; ++suffix) {
      report_.old_index = fmt::format("{}/index.old.{}", layout_.root, suffix);
      if (!fs::exists(report_.old_index)) break;
    }
    if (fs::exists(layout_.index)) {
      if (files_.rename(layout_.index, report_.old_index) != 0) throw Failure(from_errno(layout_.index));
    } else {
      report_.old_index.clear();
    }
    if (files_.rename(made, layout_.index) != 0 || files_.sync_folder(layout_.root) != 0)
      throw Failure(from_errno(made));
  }

  const Options& options_;
  Files& files_;
  const Layout& layout_;
  const Identity& identity_;
  RebuildReport& report_;
  const std::function<void(std::uint64_t)>& progress_;
  SegmentCache segments_;

  NewestRows domains_, mailboxes_, aliases_, auto_replies_, taken_, queued_, queue_domains_;
  std::unordered_set<QueueId, QueueIdHash> left_;
  std::vector<QueuedRecipient> queue_;
  std::unordered_set<OwnerOf, OwnerHash> gone_;
  std::unordered_set<std::uint32_t> ever_;  // numbers of all mailboxes that the journal knows, purged ones too
  std::unordered_map<std::uint32_t, std::string> numbers_;  // of the mailboxes there are: their keys
  std::map<std::uint64_t, MessageRow> messages_;
  std::map<std::uint32_t, std::vector<Entry>> entries_;
  std::map<std::uint64_t, FoundSegment> found_;
  std::uint64_t commits_ = 0, next_mailbox_ = 0, next_segment_ = 0, credential_ = 0, last_id_ = 0;
};

}  // namespace

Result<RebuildReport> Store::rebuild(const Options& options, const std::function<void(std::uint64_t)>& progress) {
  return guarded([&]() -> Result<RebuildReport> {
    if (sodium_init() < 0) throw Failure(Errc::unavailable, "libsodium does not start");
    const Layout layout(options.path);
    const auto identity = read_identity(layout);
    const Presence alone(layout.locks, Presence::Kind::alone);
    RebuildReport report;
    Rebuilder(options, layout, identity, report, progress).run();
    return report;
  });
}

}  // namespace mailstore
