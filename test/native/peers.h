/*
 * peers.h - what the tests of relay.c share: the Test Anything Protocol, connections over loopback, tunnels with a relay between
 * their peers, and peers that send and check a known text.
 */
#ifndef SPLICEWAY_TEST_PEERS_H
#define SPLICEWAY_TEST_PEERS_H

#include "relay.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum side { CLIENT, UPSTREAM };

/* ---- Test Anything Protocol ---- */

/* Runs a test: prints `ok` or `not ok`. Fails as well when a descriptor is left, and stops the program after its time limit. */
void test(const char *promise, void (*body)(void));

/* The time limit of the tests to come, 30 seconds otherwise. */
void limit(unsigned seconds);

/* Of the tests to come, only those are run whose promise contains these words. */
void only(const char *words);

/* Runs a test in a child process, which a body may make unprivileged. */
void test_in_child(const char *promise, void (*body)(void));

/* Prints the plan. The exit status of the program. */
int tested(void);

/* A part of a test that holds or fails it. */
#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)
/* Likewise, for what the rest of the program stands on. */
#define NEED(condition) need((condition), #condition, __FILE__, __LINE__)

bool check(bool holds, const char *what, const char *file, int line);
void need(bool holds, const char *what, const char *file, int line);
void comment(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- The machine ---- */

uint64_t now_ms(void);
void sleep_ms(unsigned ms);
unsigned descriptors(void);

/* ---- Connections ---- */

/* A connection over loopback; `buffer_bytes` are those of each of its four kernel buffers, 0: the system's. */
void connection(int family, int buffer_bytes, int *made, int *accepted);
void non_blocking(int fd);
/* Closes with a RST, now. */
void reset(int fd);
/* What was sent and is not acknowledged. */
size_t unacknowledged(int fd);

/* ---- Tunnels ---- */

struct tunnel {
    struct relay_tunnel *handle;
    uint64_t counters[RELAY_COUNTERS];
    atomic_uint ended;        /* how often it was reported */
    enum relay_cause cause;   /* once it was */
    uint64_t ended_ms;
    int inner[2];             /* the relay's descriptors, by side: to look at while the tunnel lives */
    int peer[2];              /* ours; -1 once closed */
};

struct tunnel_options {
    int family;               /* 0: IPv4 */
    int buffer_bytes;
    const char *up, *down;    /* at hand-over */
    size_t up_bytes, down_bytes, down_uncounted;
    uint64_t idle_ms, half_close_ms;
    unsigned user_timeout_ms, keepalive_s;
    void (*before)(struct tunnel *); /* runs with both connections made, before the hand-over */
};

struct relay *start(unsigned threads);
/* Stops the relay, after it was seen that no tunnel and no pipe is left in it. */
void stop(struct relay *relay);

void tunnel_open(struct relay *relay, struct tunnel *tunnel, const struct tunnel_options *options);
/* Waits for the end, at most 20 seconds. False when it does not come. */
bool tunnel_ends(struct tunnel *tunnel);
/* Waits for the end and for its cause, frees the tunnel and closes our peers. */
bool tunnel_ended(struct tunnel *tunnel, enum relay_cause cause);
/* Without a word on the cause. */
void tunnel_close(struct tunnel *tunnel);
uint64_t counted(const struct tunnel *tunnel, enum relay_counter which);
const char *cause_name(enum relay_cause cause);
struct relay_totals totals(struct relay *relay);

/* ---- Peers ---- */

enum end { OPEN, FIN, RESET };

/* One end of a connection. What it sends is the text that begins at `text`; what it receives must be that which begins at `expects`. */
struct peer {
    int fd;
    uint64_t text, sent, to_send;
    uint64_t expects, received;
    uint64_t limit;    /* does not read beyond; UINT64_MAX: reads all */
    bool ends;         /* shuts down once all is sent */
    bool ended;        /* ... has */
    bool broken;       /* a write failed */
    bool differs;      /* received other bytes than it should */
    enum end saw;      /* how the other's half ended */
};

/* Whose peers read everything and send nothing, until told. */
struct peer peer(int fd, uint64_t text, uint64_t expects);
/* A piece of the text; at most 1 MiB of it is there. */
const char *text_at(uint64_t offset);
/* Sends and reads without waiting; up to some 256 KiB each way. True when something was done. */
bool peer_step(struct peer *peer);
/* Sends one byte of the text as urgent data. False when there is no room. */
bool peer_sends_urgent(struct peer *peer);
/* Moves all of them until `until` says so, or nothing happened for 20 seconds: then false. */
bool drive(struct peer *peers, size_t count, bool (*until)(const struct peer *peers, size_t count));
/* Waits until one of them can do something. */
bool wait_for(struct peer *peers, size_t count, int ms);
/* Moves them until nobody has been able to move anything for so long. */
void drive_until_still(struct peer *peers, size_t count, unsigned ms);

bool all_sent(const struct peer *peers, size_t count);     /* and ended, where they end */
bool all_limits(const struct peer *peers, size_t count);   /* have received up to their limits */
bool all_saw_end(const struct peer *peers, size_t count);

/* Writes some of the text, and reads it to the byte; blocking. */
void say(int fd, const char *words);
bool hears(int fd, const char *words);
/* How the other's half ended, with no byte before it; blocking. */
enum end hears_end(int fd);

#endif
