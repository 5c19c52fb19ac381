/*
 * load handshakes --target … [--concurrency C] [--rate R] [--warmup-ms W] [--duration-ms D] [--count N] [--realtime 1]
 *
 * A handshake is: connect, CONNECT with credentials and its 200 (where there is a proxy that speaks it), one byte to the
 * server, the same byte back, and the end of file that the server sends behind it. The server closes first, so that the
 * TIME_WAIT of both legs stays with the listening side and no port that a dialler may choose is ever used up.
 *
 * Without --rate, C handshakes are always under way, and those count that end in the measured time. With it, R are
 * started in a second whatever becomes of them, and those count that were due in the measured time, from the moment when
 * they were due, however long they take. The measured time begins after the warm-up, with {"event":"begin"}, and ends
 * after its duration (but not before one handshake has ended), or after N handshakes; {"event":"end"} has the figures.
 * Latencies reach from the start to the byte.
 */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define CONCURRENCY_MOST 4096
#define SAMPLES_MOST (4 << 20)

enum state { FREE, CONNECTING, REPLYING, ANSWERING, ENDING };

struct handshake {
  enum state state;
  int fd;
  unsigned char byte;
  uint64_t start;
  size_t reply_size;
  char reply[REPLY_MOST + 1];
};

static struct route route;
static struct handshake *handshakes;
static size_t concurrency, under_way;
static int epoll, timer = -1;
static uint64_t started, finished, samples_count, *samples;
/* When the measured time began; UINT64_MAX before. */
static uint64_t begin = UINT64_MAX;
/* Those count that started in the measured time, not those that ended in it. */
static bool by_start;

static void send_byte(struct handshake *handshake)
{
  send_all(handshake->fd, &handshake->byte, 1);
  handshake->state = ANSWERING;
}

static void start(struct handshake *handshake, uint64_t due)
{
  handshake->fd = tcp_socket(true);
  handshake->start = due;
  handshake->reply_size = 0;
  handshake->byte = (unsigned char)(ORDER_ANSWER + started++ % 64);
  handshake->state = CONNECTING;
  under_way++;
  if (connect(handshake->fd, (const struct sockaddr *)&route.first, sizeof route.first) != 0 && errno != EINPROGRESS)
    die_errno("connect");
  struct epoll_event event = {.events = EPOLLOUT, .data.ptr = handshake};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, handshake->fd, &event) != 0) die_errno("epoll_ctl");
}

static void connected(struct handshake *handshake)
{
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(handshake->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) die("connect: %s", strerror(error));
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = handshake};
  epoll_ctl(epoll, EPOLL_CTL_MOD, handshake->fd, &event);
  if (route.request_size == 0) return send_byte(handshake);
  send_all(handshake->fd, route.request, route.request_size);
  handshake->state = REPLYING;
}

static void replied(struct handshake *handshake)
{
  char *reply = handshake->reply;
  const ssize_t got = recv(handshake->fd, reply + handshake->reply_size, REPLY_MOST - handshake->reply_size, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got < 0) die_errno("no reply from the proxy");
  handshake->reply_size += (size_t)got;
  reply[handshake->reply_size] = '\0';
  const int state = reply_state(reply, handshake->reply_size);
  if (state < 0 || (got == 0 && state == 0))
    die("the proxy refused a tunnel: %.*s", (int)strcspn(reply, "\r\n"), reply);
  if (state == 1) send_byte(handshake);
}

static void answered(struct handshake *handshake)
{
  unsigned char bytes[2];
  const ssize_t got = recv(handshake->fd, bytes, sizeof bytes, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got < 0) die_errno("a tunnel failed before its byte came back");
  if (got != 1 || bytes[0] != handshake->byte)
    die("CORRUPT: %zd bytes came back (first 0x%02x) where one was sent (0x%02x)", got, bytes[0], handshake->byte);
  const uint64_t now = now_ns();
  if ((by_start ? handshake->start : now) >= begin && samples_count < SAMPLES_MOST)
    samples[samples_count++] = now - handshake->start;
  handshake->state = ENDING;
}

static void ended(struct handshake *handshake)
{
  char byte;
  const ssize_t got = recv(handshake->fd, &byte, 1, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got > 0) die("CORRUPT: more came back than was sent");
  /* An end of file, or a reset: some proxies end a tunnel so, and every byte has arrived. */
  close(handshake->fd);
  handshake->state = FREE;
  under_way--;
  finished++;
}

static void advance(struct handshake *handshake)
{
  if (handshake->state == CONNECTING) return connected(handshake);
  if (handshake->state == REPLYING) return replied(handshake);
  if (handshake->state == ANSWERING) answered(handshake);
  /* The end is often there together with the byte. */
  if (handshake->state == ENDING) ended(handshake);
}

static struct handshake *any_free(void)
{
  static size_t next;
  for (size_t i = 0; i < concurrency; i++) {
    struct handshake *one = &handshakes[next++ % concurrency];
    if (one->state == FREE) return one;
  }
  return NULL;
}

static void await_events(void)
{
  struct epoll_event events[256];
  const int ready = epoll_wait(epoll, events, 256, DEADLINE_MS);
  if (ready < 0 && errno != EINTR) die_errno("epoll_wait");
  if (ready == 0) die("nothing moved for %d s with %zu handshakes under way", DEADLINE_MS / 1000, under_way);
  for (int i = 0; i < ready; i++) {
    uint64_t expirations;
    /* A timer that is not read does not go on. */
    if (events[i].data.ptr == NULL) (void)!read(timer, &expirations, sizeof expirations);
    else advance(events[i].data.ptr);
  }
}

static void await_all(void)
{
  while (under_way > 0) await_events();
}

static void arm_timer(uint64_t interval_ns)
{
  timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  const struct timespec interval = {.tv_sec = (time_t)(interval_ns / 1000000000u),
                                    .tv_nsec = (long)(interval_ns % 1000000000u)};
  const struct itimerspec spec = {.it_interval = interval, .it_value = interval};
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  if (timer < 0 || timerfd_settime(timer, 0, &spec, NULL) != 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) != 0)
    die_errno("timerfd");
}

int handshakes_main(const struct options *options)
{
  route = route_of(options);
  concurrency = option_number(options, "--concurrency", 50, CONCURRENCY_MOST);
  const uint64_t rate = option_number(options, "--rate", 0, 100000);
  const uint64_t warmup = option_number(options, "--warmup-ms", 0, 600000) * 1000000u;
  const uint64_t duration = option_number(options, "--duration-ms", 600000, 600000) * 1000000u;
  const uint64_t most = option_number(options, "--count", UINT64_MAX, UINT64_MAX);
  const bool realtime = option_number(options, "--realtime", 0, 1) == 1 && become_realtime();
  handshakes = allocate(concurrency, sizeof *handshakes);
  samples = allocate(SAMPLES_MOST, sizeof *samples);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  const uint64_t interval = rate == 0 ? 0 : 1000000000u / rate;
  if (rate != 0) arm_timer(interval);

  by_start = rate != 0;

  const uint64_t first = now_ns();
  uint64_t due = first + interval, finished_before = 0, now;
  for (;;) {
    now = now_ns();
    if (started >= most || (now >= first + warmup + duration && (by_start || finished > finished_before))) break;
    if (begin == UINT64_MAX && now >= first + warmup) {
      begin = now;
      finished_before = finished;
      say("{\"event\":\"begin\",\"realtime\":%s}", realtime ? "true" : "false");
    }
    if (!by_start) {
      while (under_way < concurrency && started < most) start(any_free(), now);
    } else {
      for (; due <= now; due += interval) {
        struct handshake *free_one = any_free();
        if (free_one == NULL) die("%zu handshakes are under way and none has ended: too slow for this rate", under_way);
        start(free_one, due);
      }
    }
    await_events();
  }
  if (by_start || started >= most) await_all();
  const uint64_t end = now_ns(), count = finished - finished_before;
  say("{\"event\":\"end\",\"tunnels\":%llu,\"ns\":%llu,\"p50\":%llu,\"p99\":%llu,\"most\":%llu}",
      (unsigned long long)count, (unsigned long long)(end - begin),
      (unsigned long long)percentile(samples, samples_count, 50),
      (unsigned long long)percentile(samples, samples_count, 99),
      (unsigned long long)percentile(samples, samples_count, 100));
  /* Those under way are to end well, too, before this process is gone. */
  await_all();
  return 0;
}
