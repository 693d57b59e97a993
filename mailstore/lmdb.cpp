#include "mailstore/lmdb.hpp"

namespace mailstore::lmdb {

void raise(int code, const char* what) {
  if (code == MDB_MAP_FULL) {
    throw Failure(Errc::full, "the index has used its whole map: raise [store] map_size and restart");
  }
  if (code > 0) throw Failure(from_errno(std::string("index: ") + what, code));
  const bool damage = code == MDB_CORRUPTED || code == MDB_PAGE_NOTFOUND || code == MDB_INVALID ||
                      code == MDB_VERSION_MISMATCH || code == MDB_PANIC;
  throw Failure(damage ? Errc::corrupt : Errc::unavailable, std::string("index: ") + what + ": " + mdb_strerror(code));
}

void Env::open(const std::string& path, std::size_t map_size, unsigned tables, unsigned readers, unsigned flags) {
  expect(mdb_env_create(&env_), "mdb_env_create");
  expect(mdb_env_set_mapsize(env_, map_size), "mdb_env_set_mapsize");
  expect(mdb_env_set_maxdbs(env_, tables), "mdb_env_set_maxdbs");
  expect(mdb_env_set_maxreaders(env_, readers), "mdb_env_set_maxreaders");
  expect(mdb_env_open(env_, path.c_str(), flags, 0600), "mdb_env_open");
}

}  // namespace mailstore::lmdb
