/*
 * What a program built on libssh does: commands, a shell, files; straight, through a channel of a
 * connection of its own, or through a ProxyCommand. Says how it went as one line of JSON.
 */
#include <errno.h>
#include <fcntl.h>
#include <libssh/libssh.h>
#include <libssh/server.h> /* for ssh_send_keepalive alone */
#include <libssh/sftp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void fail(const char *what, ssh_session session) {
  fprintf(stderr, "%s: %s\n", what, session == NULL ? strerror(errno) : ssh_get_error(session));
  exit(1);
}

struct bytes {
  char *at;
  size_t length;
};

static void append(struct bytes *bytes, const char *more, size_t length) {
  bytes->at = realloc(bytes->at, bytes->length + length + 1);
  if (bytes->at == NULL) fail("realloc", NULL);
  memcpy(bytes->at + bytes->length, more, length);
  bytes->length += length;
  bytes->at[bytes->length] = 0;
}

static struct bytes read_file(const char *path) {
  struct bytes all = {NULL, 0};
  char chunk[65536];
  ssize_t got;
  int file = open(path, O_RDONLY);
  if (file < 0) fail(path, NULL);
  while ((got = read(file, chunk, sizeof chunk)) > 0) append(&all, chunk, got);
  close(file);
  return all;
}

struct place {
  const char *host, *user, *key, *known_hosts, *proxy_command;
  int port;
  /* A connected socket, or -1 to dial. */
  int socket;
};

/* A connection to whom the known hosts say it is, and logged in. */
static ssh_session open_session(struct place place) {
  ssh_session session = ssh_new();
  ssh_key key;
  int no = 0, yes = 1;
  /* Small, so that files and bytes both ways make it change keys under way. */
  uint64_t rekey_bytes = 1 << 20;
  if (session == NULL) fail("ssh_new", NULL);
  ssh_options_set(session, SSH_OPTIONS_PROCESS_CONFIG, &no);
  ssh_options_set(session, SSH_OPTIONS_HOST, place.host);
  ssh_options_set(session, SSH_OPTIONS_PORT, &place.port);
  ssh_options_set(session, SSH_OPTIONS_USER, place.user);
  ssh_options_set(session, SSH_OPTIONS_KNOWNHOSTS, place.known_hosts);
  ssh_options_set(session, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null");
  ssh_options_set(session, SSH_OPTIONS_REKEY_DATA, &rekey_bytes);
  /* Without it a file waits for an acknowledgement at every turn, whoever the server is. */
  ssh_options_set(session, SSH_OPTIONS_NODELAY, &yes);
  if (place.socket >= 0) ssh_options_set(session, SSH_OPTIONS_FD, &place.socket);
  if (place.proxy_command != NULL)
    ssh_options_set(session, SSH_OPTIONS_PROXYCOMMAND, place.proxy_command);
  if (ssh_connect(session) != SSH_OK) fail("ssh_connect", session);
  if (ssh_session_is_known_server(session) != SSH_KNOWN_HOSTS_OK) fail("host key", session);
  if (ssh_pki_import_privkey_file(place.key, NULL, NULL, NULL, &key) != SSH_OK)
    fail("key", NULL);
  if (ssh_userauth_publickey(session, NULL, key) != SSH_AUTH_SUCCESS) fail("login", session);
  ssh_key_free(key);
  return session;
}

static ssh_channel open_channel(ssh_session session) {
  ssh_channel channel = ssh_channel_new(session);
  if (channel == NULL || ssh_channel_open_session(channel) != SSH_OK) fail("channel", session);
  return channel;
}

static void read_to_end(ssh_session session, ssh_channel channel, struct bytes *out, int is_stderr) {
  char chunk[65536];
  int got;
  while ((got = ssh_channel_read(channel, chunk, sizeof chunk, is_stderr)) > 0)
    append(out, chunk, got);
  if (got < 0) fail("ssh_channel_read", session);
}

static int finish(ssh_channel channel) {
  int status = ssh_channel_get_exit_status(channel);
  ssh_channel_close(channel);
  ssh_channel_free(channel);
  return status;
}

struct result {
  struct bytes out, err;
  int status;
};

static struct result run(ssh_session session, const char *command, struct bytes input) {
  struct result result = {{NULL, 0}, {NULL, 0}, -1};
  ssh_channel channel = open_channel(session);
  append(&result.out, "", 0);
  append(&result.err, "", 0);
  if (ssh_channel_request_exec(channel, command) != SSH_OK) fail(command, session);
  for (size_t sent = 0; sent < input.length;) {
    size_t left = input.length - sent;
    int wrote = ssh_channel_write(channel, input.at + sent, left > 65536 ? 65536 : left);
    if (wrote <= 0) fail("ssh_channel_write", session);
    sent += wrote;
  }
  ssh_channel_send_eof(channel);
  read_to_end(session, channel, &result.out, 0);
  read_to_end(session, channel, &result.err, 1);
  result.status = finish(channel);
  return result;
}

static struct result run_shell(ssh_session session, const char *typed) {
  struct result result = {{NULL, 0}, {NULL, 0}, -1};
  ssh_channel channel = open_channel(session);
  append(&result.out, "", 0);
  if (ssh_channel_request_pty_size(channel, "xterm", 90, 30) != SSH_OK) fail("pty", session);
  if (ssh_channel_request_shell(channel) != SSH_OK) fail("shell", session);
  if (ssh_channel_change_pty_size(channel, 100, 40) != SSH_OK) fail("size", session);
  ssh_channel_write(channel, typed, strlen(typed));
  read_to_end(session, channel, &result.out, 0);
  result.status = finish(channel);
  return result;
}

/* Writes a file over there, reads it back, and says whether it is the same. */
static int carries_files(ssh_session session, struct bytes bytes, const char *path) {
  struct bytes back = {NULL, 0};
  char chunk[32768];
  ssize_t moved;
  sftp_file file;
  sftp_session sftp = sftp_new(session);
  if (sftp == NULL || sftp_init(sftp) != SSH_OK) fail("sftp", session);
  file = sftp_open(sftp, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (file == NULL) fail(path, session);
  for (size_t sent = 0; sent < bytes.length; sent += moved) {
    size_t left = bytes.length - sent;
    moved = sftp_write(file, bytes.at + sent, left > sizeof chunk ? sizeof chunk : left);
    if (moved <= 0) fail("sftp_write", session);
  }
  sftp_close(file);
  file = sftp_open(sftp, path, O_RDONLY, 0);
  if (file == NULL) fail(path, session);
  while ((moved = sftp_read(file, chunk, sizeof chunk)) > 0) append(&back, chunk, moved);
  if (moved < 0) fail("sftp_read", session);
  sftp_close(file);
  sftp_free(sftp);
  return back.length == bytes.length && memcmp(back.at, bytes.at, bytes.length) == 0;
}

struct bridge {
  ssh_session session;
  ssh_channel channel;
  int socket;
};

/*
 * Carries bytes between a channel and a socket until one of them ends. It has the session to itself:
 * libssh's own ssh_connector stands still when much goes one way.
 */
static void *carry(void *argument) {
  struct bridge *bridge = argument;
  struct pollfd ready[2] = {{bridge->socket, POLLIN, 0}, {ssh_get_fd(bridge->session), POLLIN, 0}};
  char chunk[32768];
  int got = 0, sent = 0;
  for (;;) {
    /* A write takes in what has come meanwhile, and nothing is ready on the socket for that. */
    poll(ready, 2, got > 0 || sent > 0 ? 0 : 100);
    got = ssh_channel_read_nonblocking(bridge->channel, chunk, sizeof chunk, 0);
    if (got < 0) break;
    for (int at = 0, wrote; at < got; at += wrote)
      if ((wrote = write(bridge->socket, chunk + at, got - at)) <= 0) return NULL;
    sent = 0;
    if (ready[0].revents == 0) continue;
    sent = read(bridge->socket, chunk, sizeof chunk);
    if (sent <= 0 || ssh_channel_write(bridge->channel, chunk, sent) != sent) break;
  }
  close(bridge->socket);
  return NULL;
}

static const char *truth(int value) { return value ? "true" : "false"; }

int main(int count, char **args) {
  struct result said, echoed, shell = {{NULL, 0}, {NULL, 0}, -1};
  struct bridge bridge;
  struct bytes many;
  ssh_session session;
  pthread_t thread;
  int ends[2], files, is_alive;
  char path[4096];
  if (count != 7) {
    fprintf(stderr, "usage: %s PORT KEY KNOWN_HOSTS DIRECTORY LOGIN WAY\n", args[0]);
    return 2;
  }
  const char *directory = args[4], *login = args[5], *way = args[6];
  struct place place = {"127.0.0.1", "acme", args[2], args[3], NULL, atoi(args[1]), -1};
  if (strcmp(way, "straight") == 0) {
    place.user = "acme+real";
    session = open_session(place);
  } else {
    struct place inner = {"real.acme", login, args[2], args[3], NULL, 22, -1};
    if (strcmp(way, "channel") == 0) {
      bridge.session = open_session(place);
      bridge.channel = ssh_channel_new(bridge.session);
      if (ssh_channel_open_forward(bridge.channel, "real.acme", 22, "127.0.0.1", 0) != SSH_OK)
        fail("direct-tcpip", bridge.session);
      if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) fail("socketpair", NULL);
      bridge.socket = ends[0];
      inner.socket = ends[1];
      pthread_create(&thread, NULL, carry, &bridge);
    } else {
      inner.proxy_command = way;
    }
    session = open_session(inner);
  }

  snprintf(path, sizeof path, "%s/many", directory);
  many = read_file(path);
  said = run(session, "echo out; echo err >&2; exit 7", (struct bytes){NULL, 0});
  is_alive = ssh_send_keepalive(session) == SSH_OK && ssh_send_ignore(session, "still") == SSH_OK;
  echoed = run(session, "cat", (struct bytes){"in", 2});
  struct result counted = run(session, "sha256sum", many);
  snprintf(path, sizeof path, "%s/libssh", directory);
  files = carries_files(session, many, path);
  shell = run_shell(session, "stty size; exit 3\n");
  printf("{\"out\":\"%.*s\",\"err\":\"%.*s\",\"status\":%d,\"alive\":%s,\"echo\":\"%s\","
         "\"sum\":\"%.64s\",\"files\":%s,\"size\":%s,\"shell\":%d}\n",
         (int)strcspn(said.out.at, "\n"), said.out.at, (int)strcspn(said.err.at, "\n"),
         said.err.at, said.status, truth(is_alive), echoed.out.at, counted.out.at, truth(files),
         truth(strstr(shell.out.at, "40 100") != NULL), shell.status);
  ssh_disconnect(session);
  ssh_free(session);
  if (strcmp(way, "channel") == 0) {
    /* What it was given it leaves open. */
    close(ends[1]);
    pthread_join(thread, NULL);
    ssh_disconnect(bridge.session);
    ssh_free(bridge.session);
  }
  return 0;
}
