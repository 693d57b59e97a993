#include "tests/faults/disk.hpp"

#include <sys/stat.h>

#include <fstream>
#include <iterator>
#include <random>

namespace faults {
namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t sector = 512;

std::uint64_t inode_of(const fs::path& path) {
  struct stat about{};
  if (::stat(path.c_str(), &about) != 0) throw std::runtime_error("no such file: " + path.string());
  return about.st_ino;
}

}  // namespace

Disk::Disk(const fs::path& root) {
  files_[inode_of(root)].folder = true;
  folders_[inode_of(root)] = "";
  for (const auto& item : fs::recursive_directory_iterator(root)) {
    const auto name = fs::relative(item.path(), root).string();
    const auto inode = inode_of(item.path());
    auto& file = files_[inode];
    file.folder = item.is_directory();
    names_[name] = inode;
    if (file.folder) {
      folders_[inode] = name;
    } else {
      std::ifstream in(item.path(), std::ios::binary);
      file.octets.assign(std::istreambuf_iterator<char>(in), {});
    }
  }
}

std::string Disk::parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

void Disk::write_into(std::string& octets, const Change& change) {
  if (change.truncates) {
    octets.resize(change.offset);
    return;
  }
  if (octets.size() < change.offset + change.octets.size()) octets.resize(change.offset + change.octets.size());
  octets.replace(change.offset, change.octets.size(), change.octets);
}

void Disk::synced(std::uint64_t number, std::uint64_t begin, bool succeeded) {
  if (const auto folder = folders_.find(number); folder != folders_.end()) {
    if (!succeeded) return;
    for (auto& naming : namings_) {
      if (naming.position < begin &&
          parent_of(naming.kind == Entry::rename ? naming.to : naming.path) == folder->second) {
        naming.durable = true;
      }
    }
    // What is durable at the front is history.
    std::size_t settled = 0;
    for (; settled < namings_.size() && namings_[settled].durable; ++settled) {
      const auto& naming = namings_[settled];
      if (naming.kind == Entry::create) {
        names_[naming.path] = naming.file;
      } else if (naming.kind == Entry::unlink) {
        names_.erase(naming.path);
      } else {
        names_[naming.to] = naming.file;
        names_.erase(naming.path);
      }
    }
    namings_.erase(namings_.begin(), namings_.begin() + static_cast<std::ptrdiff_t>(settled));
    return;
  }
  auto& file = files_[number];
  for (auto& change : file.changes) {
    if (change.position >= begin) continue;
    if (!succeeded)
      change.forgotten = change.forgotten || !change.durable;
    else if (!change.forgotten)
      change.durable = true;
  }
  std::size_t settled = 0;
  for (; settled < file.changes.size() && file.changes[settled].durable; ++settled)
    write_into(file.octets, file.changes[settled]);
  file.changes.erase(file.changes.begin(), file.changes.begin() + static_cast<std::ptrdiff_t>(settled));
}

void Disk::apply(const Logged& entry) {
  const auto current = [&](const std::string& path) {
    auto found = names_.contains(path) ? names_.at(path) : 0;
    for (const auto& naming : namings_) {
      if (naming.kind == Entry::create && naming.path == path) found = naming.file;
      if (naming.kind == Entry::rename && naming.to == path) found = naming.file;
    }
    return found;
  };
  switch (entry.kind) {
    case Entry::write:
    case Entry::truncate: {
      auto& file = files_[entry.file];
      file.changes.push_back({.position = entry.position,
                              .truncates = entry.kind == Entry::truncate,
                              .offset = entry.offset,
                              .octets = std::string(entry.octets),
                              .durable = entry.kind == Entry::write && entry.done,
                              .forgotten = false});
      if (file.changes.size() == 1 && file.changes.front().durable) {
        write_into(file.octets, file.changes.front());
        file.changes.clear();
      }
      break;
    }
    case Entry::sync_begin:
      break;
    case Entry::sync_end:
      synced(entry.file, entry.offset, entry.done);
      break;
    case Entry::create:
      // The number may have been another file's that is gone.
      files_[entry.file] = File{.folder = entry.done, .octets = {}, .changes = {}};
      folders_.erase(entry.file);
      if (entry.done) folders_[entry.file] = std::string(entry.octets);
      namings_.push_back({.position = entry.position,
                          .kind = entry.kind,
                          .path = std::string(entry.octets),
                          .to = {},
                          .file = entry.file,
                          .durable = false});
      break;
    case Entry::unlink:
      namings_.push_back({.position = entry.position,
                          .kind = entry.kind,
                          .path = std::string(entry.octets),
                          .to = {},
                          .file = 0,
                          .durable = false});
      break;
    case Entry::rename: {
      const auto gap = entry.octets.find('\0');
      const std::string from(entry.octets.substr(0, gap));
      namings_.push_back({.position = entry.position,
                          .kind = entry.kind,
                          .path = from,
                          .to = std::string(entry.octets.substr(gap + 1)),
                          .file = current(from),
                          .durable = false});
      break;
    }
    case Entry::note:
      break;
  }
}

Disk Disk::after_kill(const fs::path& image) const {
  after_power_failure(image, Loss::nothing, 0);
  Disk other;
  other.namings_ = namings_;
  std::map<std::uint64_t, std::uint64_t> renumbered;
  const auto same = [&](const std::string& name, std::uint64_t number) {
    if (!fs::exists(image / name)) return;
    const auto now = inode_of(image / name);
    renumbered[number] = now;
    other.files_[now] = files_.at(number);
    if (files_.at(number).folder) other.folders_[now] = name;
  };
  for (const auto& [number, name] : folders_) same(name, number);
  for (const auto& [name, number] : names_) same(name, number);
  for (const auto& naming : namings_) {
    if (naming.kind == Entry::create) same(naming.path, naming.file);
    if (naming.kind == Entry::rename) same(naming.to, naming.file);
  }
  // Whatever had a name once and has none now keeps its old number: nobody can open it.
  const auto number_now = [&](std::uint64_t number) {
    const auto found = renumbered.find(number);
    if (found != renumbered.end()) return found->second;
    if (files_.contains(number)) other.files_[number] = files_.at(number);
    return number;
  };
  for (const auto& [name, number] : names_) other.names_[name] = number_now(number);
  for (auto& naming : other.namings_) naming.file = number_now(naming.file);
  // A new log counts from 0.
  for (auto& naming : other.namings_) naming.position = 0;
  for (auto& [number, file] : other.files_) {
    for (auto& change : file.changes) change.position = 0;
  }
  return other;
}

void Disk::after_power_failure(const fs::path& image, Loss loss, std::uint64_t seed) const {
  std::mt19937_64 random(seed);
  const auto kept = [&] {
    if (loss == Loss::anything) return (random() & 1U) != 0;
    return loss == Loss::nothing;
  };
  auto names = names_;
  for (const auto& naming : namings_) {
    if (!naming.durable && !kept()) continue;
    if (naming.kind == Entry::create) {
      names[naming.path] = naming.file;
    } else if (naming.kind == Entry::unlink) {
      names.erase(naming.path);
    } else {
      names[naming.to] = naming.file;
      names.erase(naming.path);
    }
  }
  // Folders come before what is in them: names are sorted.
  for (const auto& [name, number] : names) {
    const auto parent = parent_of(name);
    if (!parent.empty() && !fs::is_directory(image / parent)) continue;
    const auto& file = files_.at(number);
    const auto path = image / name;
    if (file.folder) {
      fs::create_directory(path);
      continue;
    }
    auto octets = file.octets;
    for (const auto& change : file.changes) {
      const bool certain = change.durable;
      // A forgotten change is in the page cache still: a process that goes on sees it, a power failure may not leave
      // it.
      if (change.truncates || change.octets.size() <= sector || loss != Loss::anything || certain) {
        if (certain || kept()) write_into(octets, change);
        continue;
      }
      for (std::uint64_t at = 0; at < change.octets.size();) {
        const auto some = std::min(sector - (change.offset + at) % sector, change.octets.size() - at);
        if (kept()) {
          write_into(octets, {.position = 0,
                              .truncates = false,
                              .offset = change.offset + at,
                              .octets = change.octets.substr(at, some),
                              .durable = true,
                              .forgotten = false});
        }
        at += some;
      }
    }
    std::ofstream out(path, std::ios::binary);
    out.write(octets.data(), static_cast<std::streamsize>(octets.size()));
    out.close();
    fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
  }
}

}  // namespace faults
