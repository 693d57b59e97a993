#pragma once

#include <lmdb.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "mailstore/failure.hpp"

/// The one door to lmdb.h: owners that roll back when they leave their scope, errors as Failure, "not found" as an
/// answer.
namespace mailstore::lmdb {

inline MDB_val value_of(std::string_view octets) {
  return MDB_val{octets.size(), const_cast<char*>(octets.data())};  // LMDB does not write through it
}
inline std::string_view view_of(const MDB_val& value) {
  return {static_cast<const char*>(value.mv_data), value.mv_size};
}

/// MDB_MAP_FULL and a full disk are `full`; damage is `corrupt`.
[[noreturn]] void raise(int code, const char* what);
inline void expect(int code, const char* what) {
  if (code != MDB_SUCCESS) raise(code, what);
}

class Env {
 public:
  Env() = default;
  ~Env() {
    if (env_ != nullptr) mdb_env_close(env_);
  }
  Env(const Env&) = delete;
  Env& operator=(const Env&) = delete;
  void open(const std::string& path, std::size_t map_size, unsigned tables, unsigned readers, unsigned flags);
  MDB_env* get() const { return env_; }

 private:
  MDB_env* env_ = nullptr;
};

/// A transaction; aborted unless committed.
class Txn {
 public:
  Txn(MDB_env* env, unsigned flags, MDB_txn* parent = nullptr) {
    expect(mdb_txn_begin(env, parent, flags, &txn_), "mdb_txn_begin");
  }
  ~Txn() {
    if (txn_ != nullptr) mdb_txn_abort(txn_);
  }
  Txn(const Txn&) = delete;
  Txn& operator=(const Txn&) = delete;
  /// The raw result: what a failed commit means is for the committer to say.
  [[nodiscard]] int try_commit() {
    MDB_txn* txn = txn_;
    txn_ = nullptr;
    return mdb_txn_commit(txn);
  }
  void commit() { expect(try_commit(), "mdb_txn_commit"); }
  MDB_txn* get() const { return txn_; }

 private:
  MDB_txn* txn_ = nullptr;
};

inline std::optional<std::string_view> get(MDB_txn* txn, MDB_dbi table, std::string_view key) {
  MDB_val k = value_of(key);
  MDB_val v{};
  const int code = mdb_get(txn, table, &k, &v);
  if (code == MDB_NOTFOUND) return std::nullopt;
  expect(code, "mdb_get");
  return view_of(v);
}

/// False when MDB_NOOVERWRITE was given and the key is there.
inline bool put(MDB_txn* txn, MDB_dbi table, std::string_view key, std::string_view value, unsigned flags = 0) {
  MDB_val k = value_of(key);
  MDB_val v = value_of(value);
  const int code = mdb_put(txn, table, &k, &v, flags);
  if (code == MDB_KEYEXIST) return false;
  expect(code, "mdb_put");
  return true;
}

inline bool erase(MDB_txn* txn, MDB_dbi table, std::string_view key) {
  MDB_val k = value_of(key);
  const int code = mdb_del(txn, table, &k, nullptr);
  if (code == MDB_NOTFOUND) return false;
  expect(code, "mdb_del");
  return true;
}

struct Row {
  std::string_view key, value;
};

class Cursor {
 public:
  Cursor(MDB_txn* txn, MDB_dbi table) { expect(mdb_cursor_open(txn, table, &cursor_), "mdb_cursor_open"); }
  ~Cursor() { mdb_cursor_close(cursor_); }
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;
  /// The first row whose key is not below `key`.
  std::optional<Row> seek(std::string_view key) { return move(key, MDB_SET_RANGE); }
  std::optional<Row> first() { return move({}, MDB_FIRST); }
  std::optional<Row> next() { return move({}, MDB_NEXT); }
  std::optional<Row> previous() { return move({}, MDB_PREV); }

 private:
  std::optional<Row> move(std::string_view key, MDB_cursor_op how) {
    MDB_val k = value_of(key);
    MDB_val v{};
    const int code = mdb_cursor_get(cursor_, &k, &v, how);
    if (code == MDB_NOTFOUND) return std::nullopt;
    expect(code, "mdb_cursor_get");
    return Row{view_of(k), view_of(v)};
  }
  MDB_cursor* cursor_ = nullptr;
};

}  // namespace mailstore::lmdb
