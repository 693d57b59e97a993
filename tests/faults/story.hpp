#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "mailstore/store.hpp"
#include "tests/faults/disk_log.hpp"

namespace faults {

/// What is done to a store, made from a seed; known before it is played, so that whoever looks at the ruins knows what
/// each letter said and for whom it was.
struct Letter {
  std::vector<std::size_t> to;  ///< places among the mailboxes
  std::size_t size = 0;
  std::size_t remotes = 0;  ///< recipients that go into the queue, in as many domains
};
struct Step {
  enum class Kind : std::uint8_t {
    deliver,
    together,
    remove,
    purge,
    add,
    change_quota,
    compact,
    reopen,
    settle,  ///< some recipients leave the queue
    report,  ///< one does, together with a report
  };
  Kind kind = Kind::deliver;
  std::vector<std::size_t> letters;  ///< deliver, together: places among the letters
  std::size_t mailbox = 0;           ///< remove, purge, add, change_quota
  std::uint64_t pick = 0;            ///< remove: which messages; settle, report: which recipients
};
struct Story {
  Story(std::uint64_t seed, std::size_t steps);
  std::uint64_t seed;
  std::size_t mailboxes = 4;
  std::vector<Letter> letters;
  std::vector<Step> steps;
  std::string octets(std::size_t letter) const;
};

mailstore::Options story_options(const std::filesystem::path& store);
/// Makes the store and its first mailboxes.
void begin_story(const std::filesystem::path& store, const Story& story);
/// Plays it on the store and notes in `log` what is asked for and what is answered. Returns whether a last letter,
/// after all steps, was accepted: service goes on.
bool play(const std::filesystem::path& store, const Story& story, DiskLog& log);

/// What was asked and answered up to some moment.
class Ledger {
 public:
  explicit Ledger(const Story& story) : story_(story) {}
  void apply(std::string_view note);
  /// Opens the store, compares it with what was answered, delivers one letter more, lets it check itself. One line for
  /// each thing that is not as it must be.
  std::string compare(const std::filesystem::path& store) const;
  /// The same after the index was made anew from segments and journal, where the journal may lack what happened since
  /// its last sync: what was removed may be back, people may be as they were.
  std::string compare_rebuilt(const std::filesystem::path& store) const;

 private:
  std::string compare(const std::filesystem::path& store, bool rebuilt) const;
  /// The queue, and the reports on what left it. Returns for each letter which of its remotes wait.
  std::map<std::size_t, std::set<std::size_t>> compare_queue(mailstore::Store& store, bool rebuilt,
                                                             std::string& wrong) const;
  enum class State : std::uint8_t { unknown, asked, done, refused };
  const Story& story_;
  std::map<std::size_t, State> letters_;
  std::map<std::size_t, std::uint64_t> ids_;                                    // of those accepted
  std::map<std::pair<std::size_t, std::size_t>, State> removals_;               // mailbox, letter
  std::map<std::pair<std::size_t, std::size_t>, State> settlements_, reports_;  // letter, place among its remotes
  std::map<std::size_t, State> purges_, additions_, changes_;
  std::map<std::size_t, std::uint32_t> numbers_;  // of mailboxes that were added
  std::map<std::size_t, std::string> quota_of_;
};

}  // namespace faults
