#include "common/config/keys.hpp"

namespace common::config {
namespace {

using K = Type;
constexpr std::int64_t megabyte = 1 << 20;

const std::vector<Key> table = {
    {.name = "store.path",
     .type = K::path,
     .defaults = {{every, R"("/var/lib/pennypost/store")"}},
     .may_be_empty = false,
     .suite = [](Suite& s) -> Slot { return &s.store.path; },
     .doc = "The folder of the store; made by 'pennypost store init', never by a daemon."},
    {.name = "store.map_size",
     .type = K::size,
     .defaults = {{every, R"("256GB")"}},
     .least = 16 * megabyte,
     .most = megabyte * megabyte * 64,
     .suite = [](Suite& s) -> Slot { return &s.store.map_size; },
     .doc = "The largest size of the index: address space, not disk."},
    {.name = "store.reserve",
     .type = K::size,
     .defaults = {{every, R"("256MB")"}},
     .suite = [](Suite& s) -> Slot { return &s.store.reserve; },
     .doc = "Free disk space below which mail is answered 452 4.3.1."},

    {.name = "store.keep_removed",
     .type = K::time,
     .defaults = {{every, R"("30d")"}},
     .least = 1000,
     .most = 100 * std::int64_t{365} * 86'400'000,
     .zero_is_none = true,
     .suite = [](Suite& s) -> Slot { return &s.store.keep_removed; },
     .doc = "How long a mailbox that was removed can be restored; then pop3d purges it, with its mail; 0: for ever."},

    {.name = "store.keep_done",
     .type = K::time,
     .defaults = {{every, R"("3d")"}},
     .least = 1000,
     .most = 100 * std::int64_t{365} * 86'400'000,
     .zero_is_none = true,
     .suite = [](Suite& s) -> Slot { return &s.store.keep_done; },
     .doc = "How long 'pennypost queue list --state done' tells what left the queue; 0: it is not recorded."},

    {.name = "run.user",
     .type = K::text,
     .defaults = {{every, R"("pennypost")"}},
     .suite = [](Suite& s) -> Slot { return &s.run.user; },
     .doc = "The user that a program started as root becomes; empty: it stays what it is."},
    {.name = "run.directory",
     .type = K::path,
     .defaults = {{every, R"("/run/pennypost")"}},
     .may_be_empty = false,
     .suite = [](Suite& s) -> Slot { return &s.run.directory; },
     .doc = "The folder of process id files and control sockets."},
    {.name = "run.threads",
     .type = K::count,
     .defaults = {{every, "0"}},
     .most = 1024,
     .suite = [](Suite& s) -> Slot { return &s.run.threads; },
     .doc = "Threads that serve connections in each daemon; 0: one per core."},

    {.name = "log.level",
     .type = K::choice,
     .defaults = {{every, R"("info")"}},
     .choices = {"error", "warning", "info", "debug"},
     .suite = [](Suite& s) -> Slot { return &s.log.level; },
     .doc = "The least important lines that are written."},
    {.name = "log.target",
     .type = K::path,
     .defaults = {{every, R"("stderr")"}},
     .choices = {"stderr", "journald", "syslog"},
     .may_be_empty = false,
     .suite = [](Suite& s) -> Slot { return &s.log.target; },
     .doc = "Where the log goes; a file is opened anew on SIGHUP."},
    {.name = "log.format",
     .type = K::choice,
     .defaults = {{every, R"("text")"}},
     .choices = {"text", "json"},
     .suite = [](Suite& s) -> Slot { return &s.log.format; },
     .doc = "Lines of key=value for people, or one JSON object a line."},

    {.name = "dns.servers",
     .ready = nowhere,
     .type = K::texts,
     .defaults = {{every, "[]"}},
     .suite = [](Suite& s) -> Slot { return &s.dns.servers; },
     .doc = "Name servers as address:port; empty: the system's."},
    {.name = "dns.hosts",
     .ready = nowhere,
     .type = K::hosts,
     .defaults = {{every, "{}"}},
     .suite = [](Suite& s) -> Slot { return &s.dns.hosts; },
     .doc = "Fixed answers: a name and the list of its addresses."},
    {.name = "dns.insecure",
     .ready = nowhere,
     .type = K::texts,
     .defaults = {{every, "[]"}},
     .suite = [](Suite& s) -> Slot { return &s.dns.insecure; },
     .doc = "Zones that are not validated by DNSSEC."},

    {.name = "metrics.listen",
     .ready = nowhere,
     .type = K::text,
     .defaults = {{every, R"("")"}},
     .suite = [](Suite& s) -> Slot { return &s.metrics.listen; },
     .doc = "Address:port that serves figures in the Prometheus text format; empty: none."},

    {.name = "operators",
     .ready = nowhere,
     .type = K::hosts,
     .defaults = {{every, "{}"}},
     .doc = "Who beside root may change what."},
};

}  // namespace

std::span<const Key> suite_keys() {
  return table;
}

}  // namespace common::config
