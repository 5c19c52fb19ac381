/* The subcommands that need one tunnel at a time, or keep many and do nothing with them. */
#include "load.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* load wait --target … [--deadline-ms D]: returns as soon as a connection to the first hop is accepted. */
int wait_main(const struct options *options)
{
  const struct route route = route_of(options);
  const uint64_t wait_ms = option_number(options, "--deadline-ms", DEADLINE_MS, 600000);
  const uint64_t deadline = now_ns() + wait_ms * 1000000u;
  for (;;) {
    const int fd = tcp_socket(false);
    const bool there = connect(fd, (const struct sockaddr *)&route.first, sizeof route.first) == 0;
    if (!there && now_ns() > deadline) die_errno("nobody listens after %llu ms", (unsigned long long)wait_ms);
    close(fd);
    if (there) break;
    usleep(5000);
  }
  say("{\"event\":\"there\"}");
  return 0;
}

/* One byte to the server and back. */
static void prove(int fd, unsigned number)
{
  const unsigned char sent = (unsigned char)(ORDER_ECHO + number % 64);
  unsigned char received;
  send_all(fd, &sent, 1);
  receive_all(fd, &received, 1);
  if (received != sent) die("CORRUPT: 0x%02x came back where 0x%02x was sent", received, sent);
}

/*
 * load round-trips --target … [--count N] [--bytes B] [--warmup N]: over one tunnel, one message at a time, each
 * compared with what comes back.
 */
int round_trips_main(const struct options *options)
{
  const struct route route = route_of(options);
  const size_t count = option_number(options, "--count", 20000, 10000000);
  const size_t warmup = option_number(options, "--warmup", 1000, 10000000);
  const size_t size = option_number(options, "--bytes", 64, 4096);
  uint64_t *samples = allocate(count, sizeof *samples);
  unsigned char *sent = allocate(size, 1), *received = allocate(size, 1);
  memcpy(sent, block(), size);
  const int fd = open_tunnel(&route);
  prove(fd, 0);
  for (size_t i = 0; i < warmup + count; i++) {
    memcpy(sent, &i, size < sizeof i ? size : sizeof i);
    const uint64_t start = now_ns();
    send_all(fd, sent, size);
    receive_all(fd, received, size);
    if (i >= warmup) samples[i - warmup] = now_ns() - start;
    if (memcmp(sent, received, size) != 0) die("CORRUPT: message %zu did not come back as it was sent", i);
  }
  close(fd);
  say("{\"event\":\"end\",\"count\":%zu,\"p50\":%llu,\"p99\":%llu}", count,
      (unsigned long long)percentile(samples, count, 50), (unsigned long long)percentile(samples, count, 99));
  return 0;
}

static void nothing(void)
{
}

/*
 * load idle --target … --tunnels N: opens them, one byte there and back on each, says {"event":"ready"} and keeps them
 * until its standard input ends, when it first proves that each still works.
 */
int idle_main(const struct options *options)
{
  const struct route route = route_of(options);
  const size_t count = option_number(options, "--tunnels", 1, 100000);
  int *tunnels = allocate(count, sizeof *tunnels);
  for (size_t i = 0; i < count; i++) {
    tunnels[i] = open_tunnel(&route);
    prove(tunnels[i], (unsigned)i);
  }
  say("{\"event\":\"ready\"}");
  serve_commands(nothing, nothing);
  for (size_t i = 0; i < count; i++) {
    prove(tunnels[i], (unsigned)i);
    close(tunnels[i]);
  }
  say("{\"event\":\"end\",\"tunnels\":%zu}", count);
  return 0;
}
