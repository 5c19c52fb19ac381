/*
 * load bulk --target … --tunnels N [--both 1] [--threads T]
 *
 * Opens the tunnels, says {"event":"ready"}, sends BLOCKs on all of them as fast as they take them and, with --both,
 * throws away what the server sends. On `mark` says what has moved; on `stop` ceases to send, and says what was sent
 * once nothing more will be. Ends with its standard input; a tunnel that ends before is death.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define THREADS_MOST 16

struct worker {
  int epoll;
  _Atomic uint64_t received, sent;
  atomic_bool stopped;
};

static struct worker workers[THREADS_MOST];
static size_t threads;
static atomic_bool stopping;

static void move(struct worker *worker, int fd, uint32_t events)
{
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
    const ssize_t got = discard(fd);
    if (got == 0) die("a tunnel ended while it was in use");
    if (got < 0 && errno != EAGAIN) die_errno("a tunnel failed while it was in use");
    if (got > 0) atomic_fetch_add_explicit(&worker->received, (uint64_t)got, memory_order_relaxed);
  }
  if ((events & EPOLLOUT) == 0) return;
  if (stopping) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(worker->epoll, EPOLL_CTL_MOD, fd, &event);
    return;
  }
  const ssize_t sent = send(fd, block(), BLOCK, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) die_errno("a tunnel failed while it was in use");
  if (sent > 0) atomic_fetch_add_explicit(&worker->sent, (uint64_t)sent, memory_order_relaxed);
}

static void *work(void *argument)
{
  struct worker *worker = argument;
  for (;;) {
    /* Read before the batch: what a batch sends after this was true is nothing. */
    const bool last = stopping;
    struct epoll_event events[128];
    const int ready = epoll_wait(worker->epoll, events, 128, 20);
    if (ready < 0 && errno != EINTR) die_errno("epoll_wait");
    for (int i = 0; i < ready; i++) move(worker, events[i].data.fd, events[i].events);
    if (last) worker->stopped = true;
  }
  return NULL;
}

static void say_totals(const char *event)
{
  uint64_t received = 0, sent = 0;
  const uint64_t time = now_ns();
  for (size_t i = 0; i < threads; i++) {
    received += workers[i].received;
    sent += workers[i].sent;
  }
  say("{\"event\":\"%s\",\"ns\":%llu,\"received\":%llu,\"sent\":%llu}", event, (unsigned long long)time,
      (unsigned long long)received, (unsigned long long)sent);
}

static void mark(void)
{
  say_totals("mark");
}

static void stop(void)
{
  stopping = true;
  for (size_t i = 0; i < threads; i++)
    while (!workers[i].stopped) usleep(1000);
  say_totals("stopped");
}

int bulk_main(const struct options *options)
{
  const struct route route = route_of(options);
  const size_t count = option_number(options, "--tunnels", 1, 10000);
  const bool both = option_number(options, "--both", 0, 1) == 1;
  threads = option_number(options, "--threads", 1, THREADS_MOST);
  if (threads == 0) die("--threads takes at least 1");
  block();
  for (size_t i = 0; i < threads; i++) workers[i].epoll = epoll_create1(EPOLL_CLOEXEC);
  int *tunnels = allocate(count, sizeof *tunnels);
  for (size_t i = 0; i < count; i++) {
    const unsigned char order[ORDER_SIZE] = {both ? ORDER_BOTH : ORDER_DISCARD};
    tunnels[i] = open_tunnel(&route);
    send_all(tunnels[i], order, sizeof order);
    make_nonblocking(tunnels[i]);
  }
  for (size_t i = 0; i < count; i++) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.fd = tunnels[i]};
    if (epoll_ctl(workers[i % threads].epoll, EPOLL_CTL_ADD, tunnels[i], &event) != 0) die_errno("epoll_ctl");
  }
  for (size_t i = 0; i < threads; i++) start_thread(work, &workers[i]);
  say("{\"event\":\"ready\"}");
  serve_commands(mark, stop);
  return 0;
}
