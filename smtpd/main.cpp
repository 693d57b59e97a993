#include "common/daemon/daemon.hpp"

#include "smtpd/server.hpp"

int main(int argc, char** argv) {
  smtpd::SmtpService service;
  return common::daemon::run(argc, argv, "smtpd", "Accepts mail by SMTP and puts it into the mailbox store.", service);
}
