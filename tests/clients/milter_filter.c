/* A filter written with libmilter, for the tests: does what the subject of each message asks for.
 *
 *     milter_filter PLACE [at-once]
 *
 * "at-once": one that wants to hear of nothing but the end of the message and lets all go on, for figures. Otherwise, words of the subject:
 * "add", "insert", "change", "delete": header fields; "body": another one; "sender"; "rcpt", "rcpt-parameters", "unrcpt";
 * "quarantine"; "reject", "tempfail", "discard", "accept"; "reply", "replies"; "progress"; "skip": the rest of the body. Words
 * may follow each other, with spaces between them. It says "ready" once it listens. */
#include <libmilter/mfapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct message {
  char subject[512];
  size_t body_octets;
};

static int asked(const struct message* message, const char* word) {
  const size_t length = strlen(word);
  for (const char* at = message->subject; (at = strstr(at, word)) != NULL; at += length) {
    const int begins = at == message->subject || at[-1] == ' ';
    if (begins && (at[length] == '\0' || at[length] == ' ')) return 1;
  }
  return 0;
}

static sfsistat on_connect(SMFICTX* context, char* host, _SOCK_ADDR* address) {
  (void)host;
  (void)address;
  struct message* message = calloc(1, sizeof *message);
  if (message == NULL) return SMFIS_TEMPFAIL;
  smfi_setpriv(context, message);
  return SMFIS_CONTINUE;
}

static sfsistat on_helo(SMFICTX* context, char* name) {
  (void)context;
  return strcmp(name, "refused.test") == 0 ? SMFIS_REJECT : SMFIS_CONTINUE;
}

static sfsistat on_mail(SMFICTX* context, char** arguments) {
  struct message* message = smfi_getpriv(context);
  memset(message, 0, sizeof *message);
  return strcmp(arguments[0], "<refused@client.test>") == 0 ? SMFIS_REJECT : SMFIS_CONTINUE;
}

static sfsistat on_rcpt(SMFICTX* context, char** arguments) {
  if (strncmp(arguments[0], "<later", 6) == 0) {
    smfi_setreply(context, "450", "4.2.0", "later, please");
    return SMFIS_TEMPFAIL;
  }
  return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX* context, char* name, char* value) {
  struct message* message = smfi_getpriv(context);
  if (strcmp(name, "Subject") == 0) snprintf(message->subject, sizeof message->subject, "%s", value);
  return SMFIS_CONTINUE;
}

static sfsistat on_body(SMFICTX* context, unsigned char* octets, size_t count) {
  struct message* message = smfi_getpriv(context);
  (void)octets;
  message->body_octets += count;
  return asked(message, "skip") ? SMFIS_SKIP : SMFIS_CONTINUE;
}

static sfsistat on_end(SMFICTX* context) {
  static unsigned char other[] = "another body\r\n.\r\nbehind a dot\r\n";
  struct message* message = smfi_getpriv(context);
  char text[256];
  const char* id = smfi_getsymval(context, "i");
  const char* client = smfi_getsymval(context, "{client_addr}");
  int failed = 0;
  if (asked(message, "progress")) failed |= smfi_progress(context) != MI_SUCCESS;
  if (asked(message, "add")) {
    snprintf(text, sizeof text, "%s %s %lu", id ? id : "?", client ? client : "?", (unsigned long)message->body_octets);
    failed |= smfi_addheader(context, "X-Added", text) != MI_SUCCESS;
  }
  if (asked(message, "insert")) failed |= smfi_insheader(context, 1, "X-Inserted", "in front\n\tof all") != MI_SUCCESS;
  if (asked(message, "change")) failed |= smfi_chgheader(context, "X-Old", 2, "changed") != MI_SUCCESS;
  if (asked(message, "delete")) failed |= smfi_chgheader(context, "X-Old", 1, NULL) != MI_SUCCESS;
  if (asked(message, "body")) failed |= smfi_replacebody(context, other, (int)sizeof other - 1) != MI_SUCCESS;
  if (asked(message, "sender")) failed |= smfi_chgfrom(context, "<new@sender.test>", NULL) != MI_SUCCESS;
  if (asked(message, "rcpt")) failed |= smfi_addrcpt(context, "<bob@example.test>") != MI_SUCCESS;
  if (asked(message, "rcpt-parameters"))
    failed |= smfi_addrcpt_par(context, "<bob@example.test>", "NOTIFY=NEVER") != MI_SUCCESS;
  if (asked(message, "unrcpt")) failed |= smfi_delrcpt(context, "<ann@example.test>") != MI_SUCCESS;
  if (asked(message, "quarantine")) failed |= smfi_quarantine(context, "somebody should look") != MI_SUCCESS;
  if (failed) {
    fprintf(stderr, "libmilter refuses what \"%s\" asks for\n", message->subject);
    return SMFIS_TEMPFAIL;
  }
  if (asked(message, "reply")) {
    smfi_setreply(context, "554", "5.7.9", "100%% not wanted");
    return SMFIS_REJECT;
  }
  if (asked(message, "replies")) {
    smfi_setmlreply(context, "451", "4.7.9", "not now", "but soon", NULL);
    return SMFIS_TEMPFAIL;
  }
  if (asked(message, "reject")) return SMFIS_REJECT;
  if (asked(message, "tempfail")) return SMFIS_TEMPFAIL;
  if (asked(message, "discard")) return SMFIS_DISCARD;
  return asked(message, "accept") ? SMFIS_ACCEPT : SMFIS_CONTINUE;
}

static sfsistat on_any_end(SMFICTX* context) {
  (void)context;
  return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX* context) {
  free(smfi_getpriv(context));
  smfi_setpriv(context, NULL);
  return SMFIS_CONTINUE;
}

int main(int count, char** arguments) {
  struct smfiDesc filter = {
      .xxfi_name = "test",
      .xxfi_version = SMFI_VERSION,
      .xxfi_flags = SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_CHGBODY | SMFIF_ADDRCPT | SMFIF_ADDRCPT_PAR | SMFIF_DELRCPT |
                    SMFIF_QUARANTINE | SMFIF_CHGFROM,
      .xxfi_connect = on_connect,
      .xxfi_helo = on_helo,
      .xxfi_envfrom = on_mail,
      .xxfi_envrcpt = on_rcpt,
      .xxfi_header = on_header,
      .xxfi_body = on_body,
      .xxfi_eom = on_end,
      .xxfi_close = on_close,
  };
  const int at_once = count == 3 && strcmp(arguments[2], "at-once") == 0;
  if (count != 2 && !at_once) {
    fprintf(stderr, "usage: milter_filter PLACE [at-once]\n");
    return 2;
  }
  if (at_once) {
    const struct smfiDesc quick = {.xxfi_name = "test", .xxfi_version = SMFI_VERSION, .xxfi_eom = on_any_end};
    filter = quick;
  }
  if (smfi_setconn(arguments[1]) != MI_SUCCESS || smfi_register(filter) != MI_SUCCESS || smfi_opensocket(1) != MI_SUCCESS)
    return 1;
  puts("ready");
  fflush(stdout);
  return smfi_main() == MI_SUCCESS ? 0 : 1;
}
