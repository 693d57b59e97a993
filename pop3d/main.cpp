#include "common/daemon/daemon.hpp"
#include "pop3d/service.hpp"

int main(int argc, char** argv) {
  pop3d::Service service;
  return common::daemon::run(argc, argv, "pop3d",
                             "Pennypost's POP3 server: lets people read the mail in their mailboxes.", service);
}
