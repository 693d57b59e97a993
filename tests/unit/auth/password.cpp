#include "common/auth/password.hpp"

#include <string>

#include <doctest/doctest.h>

#include "common/auth/saslprep.hpp"
#include "common/auth/scram.hpp"

using namespace common::auth;
using common::Secret;

namespace {
Secret secret(std::string_view text) {
  return Secret{std::string{text}};
}
}  // namespace

TEST_CASE("a new password gets both forms, and they check") {
  const auto hashes = make_hashes(secret("correct horse"));
  REQUIRE(hashes);
  CHECK(hashes->password_hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
  CHECK(check_password(hashes->password_hash, secret("correct horse")));
  CHECK_FALSE(check_password(hashes->password_hash, secret("correct horsf")));
  CHECK_FALSE(check_password(hashes->password_hash, secret("")));
  CHECK_FALSE(check_password(hashes->password_hash, secret("correct hors")));

  const auto keys = parse_scram(hashes->scram_sha256);
  REQUIRE(keys);
  CHECK(keys->salt.size() >= 16);
  CHECK(keys->iterations >= 4096);
  const auto again = derive_scram("correct horse", keys->salt, keys->iterations);
  CHECK(again.stored_key == keys->stored_key);
  CHECK(again.server_key == keys->server_key);

  const auto other = make_hashes(secret("correct horse"));
  REQUIRE(other);
  CHECK(other->password_hash != hashes->password_hash);  // its own salt
  CHECK(other->scram_sha256 != hashes->scram_sha256);
}

TEST_CASE("SASLprep (RFC 4013 3): what looks the same is the same password") {
  CHECK(saslprep("I\xc2\xadX", Prepare::stored)->reveal() == "IX");     // soft hyphen mapped to nothing
  CHECK(saslprep("user", Prepare::stored)->reveal() == "user");         // nothing to do
  CHECK(saslprep("USER", Prepare::stored)->reveal() == "USER");         // case stays
  CHECK(saslprep("\xc2\xaa", Prepare::stored)->reveal() == "a");        // NFKC
  CHECK(saslprep("\xe2\x85\xa8", Prepare::stored)->reveal() == "IX");   // NFKC
  CHECK_FALSE(saslprep("\x07", Prepare::stored));                       // prohibited
  CHECK_FALSE(saslprep("\xd8\xa7\x31", Prepare::stored));               // bidirectional check
  CHECK_FALSE(saslprep("\xff\xfe", Prepare::stored));                   // not UTF-8
  CHECK_FALSE(saslprep(std::string_view{"a\0b", 3}, Prepare::stored));  // NUL

  const auto hashes = make_hashes(secret("I\xc2\xadX"));
  REQUIRE(hashes);
  CHECK(check_password(hashes->password_hash, secret("IX")));
  CHECK(check_password(hashes->password_hash, secret("\xe2\x85\xa8")));
}

TEST_CASE("passwords that cannot be used are refused with the reason") {
  CHECK_FALSE(make_hashes(secret("")));
  CHECK_FALSE(make_hashes(secret("bell\x07")));
  CHECK_FALSE(make_hashes(secret("\xff")));
  CHECK_FALSE(make_hashes(secret(std::string(257, 'x'))));
  CHECK(make_hashes(secret(std::string(256, 'x'))));
  CHECK(make_hashes(secret("\xc2\xad")).error().find("RFC 4013") != std::string::npos);  // nothing is left of it
}

TEST_CASE("imported hashes of every kind") {
  struct Row {
    std::string_view hash, password;
  };
  for (const auto& [hash, password] : {
           Row{"$1$saltsalt$qVGkERDOVKOZRqjfKlRrb/", "pennypost"},
           Row{"$5$saltsalt$1KzBa5JBBwvksTO/ZkUlMMY5KUZxztJ365FnbFNJ72.", "pennypost"},
           Row{"$6$saltsalt$0g4TeZzokgjTxEZKJxgCmWsjmtQq3dGWhJQu25GLl8AcJAVeWAuBQxQetfu0uhNOdrLKxi/75FoPoavv0q/OB1",
               "pennypost"},
           Row{"$2b$05$abcdefghijklmnopqrstuudu5aYChmoUR2hqRLYPbfEDw3SgJVpe2", "pennypost"},
           Row{"$2y$05$abcdefghijklmnopqrstuudu5aYChmoUR2hqRLYPbfEDw3SgJVpe2", "pennypost"},
           Row{"$y$j75$saltsaltsalt$n1sTaD1xew0N53xAQBDS0M3yY4QFhBzXd1ovPjhA95D", "pennypost"},
           Row{"$y$jCT$k5jCIp/PCm4ouAv/vlwLF1$8qY9k6X51OUu8i/yOBaMERzLXOnBtK5GIxHq41INzH9", "x"},  // 128 MiB
           // the reference implementation's own test values
           Row{"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"},
           Row{"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc", "password"},
       }) {
    CAPTURE(hash);
    CHECK(accept_hash(hash) == std::string{hash});
    CHECK(check_password(hash, secret(password)));
    CHECK_FALSE(check_password(hash, secret(std::string{password} + "x")));
    CHECK_FALSE(check_password(hash, secret("")));
    CHECK_FALSE(accept_hash(hash.substr(0, hash.size() - 1)));  // cut short
  }
}

TEST_CASE("hashes that cannot be checked are refused") {
  struct Row {
    std::string_view hash, why;
  };
  for (const auto& [hash, why] :
       {Row{"", "nothing"}, Row{"pennypost", "a password in the clear"}, Row{"abJnggxhB/yWI", "DES"},
        Row{"_J9..XXXXXXXXXXXXXXX", "extended DES"}, Row{"$3$$8846f7eaee8fb117ad06bdd830b7586c", "NT hash"},
        Row{"{SSHA}0c0blFTXXNuAMHECS4uxrj3ZieMoWImr", "LDAP"}, Row{"$6$", "no salt"}, Row{"$6$salt", "no digest"},
        Row{"$argon2id$", "empty"}, Row{"$argon2i$v=19$m=4096,t=3,p=1$c29tZXNhbHQ$x", "another Argon2"},
        Row{"$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "4 GiB a check"},
        Row{"$2b$20$abcdefghijklmnopqrstuudu5aYChmoUR2hqRLYPbfEDw3SgJVpe2", "a minute a check"},
        Row{"$6$rounds=99999999$saltsalt$x", "a minute a check"},
        Row{"$6$rounds=99999999999999999999999$saltsalt$x", "crypt takes such a number for the largest it allows"},
        Row{"$argon2id$v=19$m=99999999999999999999999,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "no number"},
        Row{"$y$jFT$lyyMKKx5yRrVflgncCij/.$Cdti8z9m5.ogGUhae7tHpD5rbfEZYScXLBG.6EUb4/D", "1 GiB a check"},
        Row{"$y$jDU$lyyMKKx5yRrVflgncCij/.$Cdti8z9m5.ogGUhae7tHpD5rbfEZYScXLBG.6EUb4/D", "264 MiB a check"},
        Row{"$y$.9T$lyyMKKx5yRrVflgncCij/.$Cdti8z9m5.ogGUhae7tHpD5rbfEZYScXLBG.6EUb4/D", "yescrypt of another kind"},
        Row{"$y$j9T.$lyyMKKx5yRrVflgncCij/.$Cdti8z9m5.ogGUhae7tHpD5rbfEZYScXLBG.6EUb4/D", "with more parameters"}}) {
    CAPTURE(why);
    const auto accepted = accept_hash(hash);
    REQUIRE_FALSE(accepted);
    CHECK_FALSE(accepted.error().empty());
  }
  CHECK_FALSE(check_password("", secret("x")));
  CHECK_FALSE(check_password("*", secret("x")));
  CHECK_FALSE(check_password("$9$what$ever", secret("x")));
}
