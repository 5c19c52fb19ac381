/*
 * The load generator of the benchmark: one program, both ends of every tunnel.
 *
 * One end serves (`load serve`): it accepts connections and does with each what the first bytes on it order. The other
 * end (every other subcommand) opens tunnels to it, through a proxy or directly, and counts. Both speak with the
 * benchmark over standard input (one-word commands) and standard output (one JSON object a line); whatever goes wrong is
 * a line on standard error and exit code 1. Addresses are IPv4. Times are CLOCK_MONOTONIC, in nanoseconds, so that
 * figures of two processes of one machine can be compared.
 */
#ifndef LOAD_H
#define LOAD_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- common.c: what every subcommand needs ---- */

/* Nothing may take longer than this: one connect, one reply, one handshake, one silent stretch of a stream. */
#define DEADLINE_MS 15000

/* Prints `load: MESSAGE` on standard error and exits with 1. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, with `: strerror(errno)` behind it. */
_Noreturn void die_errno(const char *format, ...) __attribute__((format(printf, 1, 2)));

uint64_t now_ns(void);

/* The options of one subcommand: `--name value` pairs, checked against the names that it knows. */
struct options {
  int count;
  char **words;
};
/* NULL where the option is absent. */
const char *option(const struct options *options, const char *name);
/* Dies on anything but a decimal number within the bounds; `fallback` where the option is absent. */
uint64_t option_number(const struct options *options, const char *name, uint64_t fallback, uint64_t most);
/* HOST:PORT, IPv4; dies where the option is absent or something else. */
struct sockaddr_in option_address(const struct options *options, const char *name);

/* SCHED_RR for this thread, where the system permits it: whether it does. */
bool become_realtime(void);

/* The value below which `percent` per cent of the samples lie (nearest rank). Sorts the samples. */
uint64_t percentile(uint64_t *samples, size_t count, double percent);

/* A thread that dies with the process; dies when there is none to be had. */
void start_thread(void *(*body)(void *), void *argument);

/* Memory or death; zeroed. */
void *allocate(size_t count, size_t size);

/* Prints one line and flushes it; several threads may. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Serves standard input until its end: `mark` and `stop` call the two functions, each of which says one line.
 * Returns at the end of the input.
 */
void serve_commands(void (*mark)(void), void (*stop)(void));

/* ---- tunnel.c: opening a tunnel ---- */

#define REQUEST_MOST 1024
#define REPLY_MOST 4096

/* How to reach the server: a TCP connection to `first`, on which `request` is sent and answered with 200 first, unless it
 * is empty. */
struct route {
  struct sockaddr_in first;
  char request[REQUEST_MOST];
  size_t request_size;
};

/* From --target HOST:PORT, and --via HOST:PORT (a TCP forwarder), or --proxy HOST:PORT and --auth USER:PASSWORD. */
struct route route_of(const struct options *options);

/* A TCP socket, non-blocking if so asked, with TCP_NODELAY. */
int tcp_socket(bool nonblocking);

/*
 * Opens a tunnel and waits for it. The descriptor returned is blocking, with a receive and send timeout of DEADLINE_MS.
 * Dies of anything but a tunnel.
 */
int open_tunnel(const struct route *route);

/* What of a proxy's reply has been read so far: 0 more is to come, 1 it is a complete 200 and nothing behind it, -1 it is
 * not. */
int reply_state(const char *reply, size_t size);

void make_nonblocking(int fd);

/* send() of all of it on a blocking descriptor, or death. */
void send_all(int fd, const void *bytes, size_t size);

/* recv() of exactly so much on a blocking descriptor, or death. */
void receive_all(int fd, void *bytes, size_t size);

/* ---- what a client may order with its first bytes on a connection ---- */

enum {
  /* 0x80–0xbf: one byte that is sent back, whereupon the server closes. */
  ORDER_ANSWER = 0x80,
  /* 0xc0–0xff: it, and all that follows, is sent back. */
  ORDER_ECHO = 0xc0,
  /* An order of ORDER_SIZE bytes: all that follows is counted and thrown away. */
  ORDER_DISCARD = 'd',
  /* The same, and the server sends without end. */
  ORDER_BOTH = 'b',
  /* The order holds seed and length: check.c at both ends. */
  ORDER_CHECK = 'c',
};

/* The order byte and two numbers of 64 bits, in the byte order of the machine. */
#define ORDER_SIZE 17

/* As much as one send() or recv() moves. */
#define BLOCK (1 << 20)

/* BLOCK bytes that do not compress, for whoever sends without end. */
const unsigned char *block(void);

/* recv() of at most BLOCK bytes that are thrown away inside the kernel; as recv(). */
ssize_t discard(int fd);

/* ---- check.c: a stream that can be checked ---- */

/*
 * One end of a connection on which both ends send `length` bytes of a pseudo-random stream and compare what arrives with
 * what must: every byte, which is stricter than a checksum and names the place. The stream is a function of seed and
 * offset, and each direction of each tunnel has a seed of its own, so that a byte lost, doubled, altered, out of place
 * or out of another tunnel is noticed.
 */
struct check {
  uint64_t seed_out, seed_in, length;
  uint64_t sent, received;
  /* Offset of the first wrong byte; CHECK_RIGHT while there is none. */
  uint64_t wrong_at;
};

#define CHECK_RIGHT UINT64_MAX

struct check check_of(uint64_t seed, uint64_t length, bool is_server);
/* Each moves as much as the non-blocking descriptor takes or gives, but not without end. False: it has failed, see errno
 * (0 for an end of file). */
bool check_send(struct check *check, int fd);
bool check_receive(struct check *check, int fd);

/* ---- the subcommands; each returns the exit code ---- */

int serve_main(const struct options *options);
int wait_main(const struct options *options);
int check_main(const struct options *options);
int bulk_main(const struct options *options);
int handshakes_main(const struct options *options);
int round_trips_main(const struct options *options);
int idle_main(const struct options *options);

#endif
