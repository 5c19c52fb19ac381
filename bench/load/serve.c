/*
 * load serve --listen HOST:PORT [--threads N] [--realtime 1]
 *
 * Says {"event":"listening","port":P}. On `mark` says what all connections with the orders discard and both have moved,
 * on `stop` ceases to send on those with the order both. Ends with its standard input.
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORKERS_MOST 16

/* What an echo connection may have received and not yet sent back. */
#define ECHO_MOST 4096

struct connection {
  int fd;
  int epoll;
  /* 0 until the order is complete. */
  unsigned char order;
  unsigned char pending[ECHO_MOST];
  size_t pending_size;
  _Atomic uint64_t received, sent;
  bool deaf;
  struct check check;
  /* The counted ones: a list that only grows, newest first. */
  struct connection *older;
};

static int listener;
static int epolls[WORKERS_MOST];
static size_t workers;
static struct connection *_Atomic counted;
static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool stopping;

static void watch(struct connection *connection, uint32_t events, int operation)
{
  struct epoll_event event = {.events = events, .data.ptr = connection};
  if (epoll_ctl(connection->epoll, operation, connection->fd, &event) != 0) die_errno("epoll_ctl");
}

/* A counted connection stays for the sake of its figures. */
static void end(struct connection *connection)
{
  close(connection->fd);
  if (connection->order != ORDER_DISCARD && connection->order != ORDER_BOTH) free(connection);
}

static void accept_some(void)
{
  static size_t next;
  for (int i = 0; i < 64; i++) {
    const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EAGAIN) return;
      if (errno == ECONNABORTED) continue;
      die_errno("accept");
    }
    const int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct connection *connection = allocate(1, sizeof *connection);
    connection->fd = fd;
    connection->epoll = epolls[next++ % workers];
    watch(connection, EPOLLIN, EPOLL_CTL_ADD);
  }
}

/* False: the connection has ended and is gone. */
static bool echo(struct connection *connection)
{
  while (connection->pending_size > 0) {
    const ssize_t sent = send(connection->fd, connection->pending, connection->pending_size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) {
      watch(connection, EPOLLOUT, EPOLL_CTL_MOD);
      connection->deaf = true;
      return true;
    }
    if (sent < 0) return end(connection), false;
    connection->pending_size -= (size_t)sent;
    memmove(connection->pending, connection->pending + sent, connection->pending_size);
  }
  if (connection->order < ORDER_ECHO) return end(connection), false;
  if (connection->deaf) watch(connection, EPOLLIN, EPOLL_CTL_MOD);
  connection->deaf = false;
  return true;
}

static void count(struct connection *connection)
{
  pthread_mutex_lock(&counting);
  connection->older = counted;
  counted = connection;
  pthread_mutex_unlock(&counting);
}

static void obey(struct connection *connection)
{
  const unsigned char order = connection->pending[0];
  if (order < ORDER_ANSWER && connection->pending_size < ORDER_SIZE) return;
  connection->order = order;
  uint64_t seed, length;
  switch (order) {
  case ORDER_DISCARD:
    count(connection);
    return;
  case ORDER_BOTH:
    count(connection);
    watch(connection, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    return;
  case ORDER_CHECK:
    memcpy(&seed, connection->pending + 1, 8);
    memcpy(&length, connection->pending + 9, 8);
    connection->check = check_of(seed, length, true);
    watch(connection, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    return;
  default:
    if (order < ORDER_ANSWER) die("no such order: %u", order);
    echo(connection);
  }
}

static void exchange(struct connection *connection, uint32_t events)
{
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
    const ssize_t got = discard(connection->fd);
    if (got == 0 || (got < 0 && errno != EAGAIN)) return end(connection);
    if (got > 0) atomic_fetch_add_explicit(&connection->received, (uint64_t)got, memory_order_relaxed);
  }
  if ((events & EPOLLOUT) == 0) return;
  if (stopping) return watch(connection, EPOLLIN, EPOLL_CTL_MOD);
  const ssize_t sent = send(connection->fd, block(), BLOCK, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) return end(connection);
  if (sent > 0) atomic_fetch_add_explicit(&connection->sent, (uint64_t)sent, memory_order_relaxed);
}

static void verify(struct connection *connection)
{
  struct check *check = &connection->check;
  if (!check_send(check, connection->fd) || !check_receive(check, connection->fd)) return end(connection);
  const bool received = check->received == check->length;
  if (check->sent < check->length) return;
  if (!received) {
    if (!connection->deaf) watch(connection, EPOLLIN, EPOLL_CTL_MOD);
    connection->deaf = true;
    return;
  }
  /* The verdict: eight bytes behind a stream that the peer reads to its end. */
  memcpy(connection->pending, &check->wrong_at, 8);
  connection->pending_size = 8;
  connection->order = ORDER_ECHO;
  connection->deaf = true;
  echo(connection);
}

static void serve(struct connection *connection, uint32_t events)
{
  switch (connection->order) {
  case ORDER_DISCARD:
  case ORDER_BOTH:
    return exchange(connection, events);
  case ORDER_CHECK:
    return verify(connection);
  default:
    break;
  }
  if (connection->deaf) {
    echo(connection);
    return;
  }
  /* No more than the order, lest what follows it were lost here. */
  const size_t room = (connection->order == 0 ? ORDER_SIZE : ECHO_MOST) - connection->pending_size;
  const ssize_t got = recv(connection->fd, connection->pending + connection->pending_size, room, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) return end(connection);
  connection->pending_size += (size_t)got;
  if (connection->order == 0) obey(connection);
  else echo(connection);
}

static void *work(void *argument)
{
  const int epoll = *(const int *)argument;
  for (;;) {
    struct epoll_event events[128];
    const int ready = epoll_wait(epoll, events, 128, -1);
    if (ready < 0 && errno != EINTR) die_errno("epoll_wait");
    for (int i = 0; i < ready; i++) {
      if (events[i].data.ptr == NULL) accept_some();
      else serve(events[i].data.ptr, events[i].events);
    }
  }
  return NULL;
}

static void mark(void)
{
  uint64_t received = 0, sent = 0;
  flockfile(stdout);
  printf("{\"event\":\"mark\",\"tunnels\":[");
  const uint64_t time = now_ns();
  for (struct connection *one = counted; one != NULL; one = one->older) {
    const uint64_t own = one->received;
    printf(one->older == NULL ? "%llu" : "%llu,", (unsigned long long)own);
    received += own;
    sent += one->sent;
  }
  say("],\"ns\":%llu,\"received\":%llu,\"sent\":%llu}", (unsigned long long)time, (unsigned long long)received,
      (unsigned long long)sent);
  funlockfile(stdout);
}

static void stop(void)
{
  stopping = true;
  say("{\"event\":\"stopped\"}");
}

int serve_main(const struct options *options)
{
  struct sockaddr_in address = option_address(options, "--listen");
  workers = option_number(options, "--threads", 1, WORKERS_MOST);
  const bool realtime = option_number(options, "--realtime", 0, 1) == 1 && become_realtime();
  listener = tcp_socket(true);
  const int yes = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  socklen_t size = sizeof address;
  if (bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 4096) != 0 ||
      getsockname(listener, (struct sockaddr *)&address, &size) != 0)
    die_errno("--listen %s", option(options, "--listen"));
  block();
  for (size_t i = 0; i < workers; i++) epolls[i] = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event accepting = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(epolls[0], EPOLL_CTL_ADD, listener, &accepting);
  for (size_t i = 0; i < workers; i++) start_thread(work, &epolls[i]);
  say("{\"event\":\"listening\",\"port\":%u,\"realtime\":%s}", ntohs(address.sin_port), realtime ? "true" : "false");
  serve_commands(mark, stop);
  return 0;
}
