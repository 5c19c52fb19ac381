/*
 * relay.h - moves the bytes of TCP tunnels between pairs of sockets, kernel to kernel where that pays.
 *
 * A relay runs threads of its own, each around one epoll(7) instance; a tunnel belongs to one thread for life. The library knows
 * file descriptors, bytes and errno: no HTTP, no policy, no Node. It follows the contract in src/relay/relay.ts.
 *
 * Thread safety: relay_start, relay_add, relay_abort, relay_free, relay_read_totals and relay_stop are called by one owner thread. The
 * `ended` callback runs on a relay thread; it must not call back into the library, and must not block.
 *
 * The process must ignore SIGPIPE (Node does): splice(2) has no MSG_NOSIGNAL.
 */
#ifndef SPLICEWAY_RELAY_H
#define SPLICEWAY_RELAY_H

#include <stddef.h>
#include <stdint.h>

/* How a tunnel ended; the order is that of RELAY_CAUSES in relay.ts. */
enum relay_cause {
    RELAY_CLIENT_FIN,         /* both halves ended in order; the client's end of file came first */
    RELAY_UPSTREAM_FIN,
    RELAY_CLIENT_RESET,       /* the client's connection broke: ECONNRESET, EPIPE, ... */
    RELAY_UPSTREAM_RESET,
    RELAY_CLIENT_TIMEOUT,     /* the client's peer vanished: ETIMEDOUT, EHOSTUNREACH */
    RELAY_UPSTREAM_TIMEOUT,
    RELAY_IDLE_TIMEOUT,
    RELAY_HALF_CLOSE_TIMEOUT,
    RELAY_ABORTED,            /* relay_abort or relay_stop */
    RELAY_CAUSES
};

/* Indices into the counters that a tunnel's owner lends. All are written with relaxed atomic stores by one thread. */
enum relay_counter {
    RELAY_BYTES_UP,           /* client to upstream, as read from the client */
    RELAY_BYTES_DOWN,         /* upstream to client, as read from the upstream */
    RELAY_FIRST_BYTE_NS,      /* CLOCK_MONOTONIC when the first byte of the upstream was read; 0 before */
    RELAY_HANDSHAKE_ONLY,     /* 1 while the client has sent a completed TLS handshake and no application data */
    RELAY_COUNTERS
};

/* Why bytes were copied that could have been spliced. */
enum relay_fallback {
    RELAY_NO_PIPE_PAGES,      /* the user's pipe-user-pages-soft is used up: new pipes are too small to be of use */
    RELAY_NO_DESCRIPTORS,     /* EMFILE, ENFILE */
    RELAY_NO_SPLICE,          /* EINVAL: the socket cannot be spliced */
    RELAY_FALLBACKS
};

struct relay;                 /* the threads */
struct relay_tunnel;          /* one tunnel */

struct relay_options {
    unsigned threads;         /* at least 1 */
    /* A tunnel has ended: both its descriptors are closed, its counters final. Called exactly once a tunnel. */
    void (*ended)(void *owner, struct relay_tunnel *tunnel, enum relay_cause cause);
    void *owner;
};

struct relay_tunnel_options {
    int client;               /* connected, non-blocking TCP sockets */
    int upstream;
    const void *up;           /* bytes already read from the client: they go to the upstream first; copied */
    size_t up_bytes;
    const void *down;         /* bytes for the client to begin with; copied */
    size_t down_bytes;
    size_t down_uncounted;    /* so many of them are the proxy's own reply, not traffic */
    uint64_t *counters;       /* RELAY_COUNTERS of them, lent until `ended` */
    uint64_t idle_ms;         /* without a byte in either direction; 0: for ever */
    uint64_t half_close_ms;   /* the same once one half has ended; 0: for ever */
    unsigned user_timeout_ms; /* TCP_USER_TIMEOUT of both sockets; 0: the system's */
    unsigned keepalive_s;     /* SO_KEEPALIVE of both: first after so long a silence, then 10, at most 10 s apart; 0: as they are */
    void *tag;                /* for the owner, see relay_tag */
};

/* What a relay has done so far, and holds now. Summed over its threads, each value by itself exact. */
struct relay_totals {
    uint64_t spliced_bytes;
    uint64_t copied_bytes;
    uint64_t pipes_in_use;    /* holding bytes, or about to */
    uint64_t pipes_pooled;
    uint64_t fallbacks[RELAY_FALLBACKS];
};

/*
 * Starts the threads. Signals are blocked in them.
 * Returns NULL with errno set where threads, epoll instances or memory are not to be had. relay_stop ends and frees it.
 */
struct relay *relay_start(const struct relay_options *options);

/*
 * Hands a tunnel over: on success both descriptors belong to the relay, which closes them, and `ended` will be called; it may be
 * called before this returns, on a relay thread as ever. Sets TCP_NODELAY on both. What can be sent of `up` and `down` at once is
 * sent before this returns.
 * Returns NULL with errno set, nothing sent, where memory is not to be had; the descriptors are then the caller's as before.
 */
struct relay_tunnel *relay_add(struct relay *relay, const struct relay_tunnel_options *options);

/* Resets both sides soon. May be called until relay_free or relay_stop; does nothing to a tunnel that has ended. */
void relay_abort(struct relay *relay, struct relay_tunnel *tunnel);

/* The `tag` of a tunnel. */
void *relay_tag(const struct relay_tunnel *tunnel);

/* Frees a tunnel whose `ended` has been called. */
void relay_free(struct relay_tunnel *tunnel);

/* Reads the totals. */
void relay_read_totals(struct relay *relay, struct relay_totals *totals);

/* Aborts every tunnel, waits for the threads and frees the relay. `ended` is called for each tunnel before this returns. */
void relay_stop(struct relay *relay);

#endif
