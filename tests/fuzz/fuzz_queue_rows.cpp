// Keys and values of the queue's tables from any octets: no crash, nothing but `corrupt`, and what was read is written
// back as octets that read the same. The first octet chooses what the rest is taken for.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "mailstore/failure.hpp"
#include "mailstore/queue_rows.hpp"

namespace {

using namespace mailstore;

void expect(bool holds) {
  if (!holds) std::abort();
}

/// `work` may throw `corrupt`.
template <class Work>
void corrupt_at_worst(Work work) {
  try {
    work();
  } catch (const Failure& failure) {
    expect(failure.error().code == Errc::corrupt && !failure.error().detail.empty());
  }
}

/// Texts that are too long are cut when they are written: so once read and written, it stays what it is.
template <class Read>
void round_trip(std::string_view octets, Read read) {
  corrupt_at_worst([&] {
    std::string once;
    std::string twice;
    encode(read(octets), once);
    encode(read(std::string_view{once}), twice);
    expect(once == twice && once.size() < 2000);
  });
}

void keys(std::string_view octets) {
  corrupt_at_worst([&] {
    const auto name = parse_queue_key(octets);
    expect(queue_key(name) == octets && octets.starts_with(queue_prefix(name.domain)));
  });
  corrupt_at_worst([&] {
    const auto id = parse_queue_id_key(octets);
    expect(std::string_view(QueueIdKey(id.id, id.ordinal)) == octets);
  });
  corrupt_at_worst([&] { expect(done_key(parse_done_key(octets)) == octets); });
  corrupt_at_worst([&] {
    const auto domain = octets.substr(0, octets.find('\0'));
    expect(queue_due_key(domain, parse_queue_due_key(domain, octets)) == octets ||
           octets.find('\0') == std::string_view::npos);
  });
  if (can_be_queued(octets)) {
    const auto domain = queue_domain_of(octets);
    expect(!domain.empty() && domain.size() <= queue_domain_limit);
    const QueueName name{domain, MessageId{1}, 2};
    expect(parse_queue_key(queue_key(name)) == name);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view octets{reinterpret_cast<const char*>(data) + 1, size - 1};
  switch (data[0] % 5) {
    case 0:
      keys(octets);
      break;
    case 1:
      round_trip(octets, [](std::string_view value) { return decode_queued({}, value); });
      break;
    case 2:
      round_trip(octets, [](std::string_view value) { return decode_queue_domain("far.test", value); });
      break;
    case 3:
      round_trip(octets, [](std::string_view value) { return decode_done({}, value); });
      break;
    default:
      round_trip(octets, decode_queue_status);
      break;
  }
  return 0;
}
