// Puts the table of configuration keys into the page pennypost.toml(5): reads the page with a line @KEYS@ and writes it
// whole, so that page and parser cannot differ.

#include <fstream>
#include <iostream>
#include <string>

#include "common/config/keys.hpp"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: make_config_page TEMPLATE PAGE\n";
    return 2;
  }
  std::ifstream in(argv[1]);
  std::ofstream out(argv[2]);
  bool replaced = false;
  for (std::string line; std::getline(in, line);) {
    if (line == "@KEYS@") {
      out << common::config::format_key_table();
      replaced = true;
    } else {
      out << line << '\n';
    }
  }
  out.close();
  if (in.bad() || !out || !replaced) {
    std::cerr << "make_config_page: " << argv[1] << " could not be read or has no line @KEYS@, or " << argv[2]
              << " could not be written\n";
    return 1;
  }
  return 0;
}
