/*
 * relay.c - see relay.h. Threads, epoll, splice, copy; no Node in it.
 *
 * One file, though long: what moves bytes, what ends tunnels and what waits call each other for every event, and are static so that the
 * compiler sees all of it; the design names one file without Node.
 */
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    BUFFER_BYTES = 256 * 1024, /* a thread's copy buffer */
    SMALL_BYTES = 32 * 1024,   /* up to here recv + send cost less than two splices and a pipe */
    BULK_BYTES = 64 * 1024,    /* a turn that moves less is no bulk any more */
    PIPE_BYTES = 1024 * 1024,  /* what we ask for; above fs.pipe-max-size nobody gets it without CAP_SYS_RESOURCE */
    PIPE_ENOUGH = 128 * 1024,  /* a pipe below is worth less than the copy buffer */
    PIPES_POOLED = 32,         /* so many empty ones are kept, by all threads together */
    TURN_BYTES = 1024 * 1024,  /* then other tunnels have their turn */
    TURN_CROWDED = 512 * 1024, /* the same while tunnels come: whoever opens them waits for a processor */
    NICER = 10,                /* than the owner's thread */
    EVENTS = 256,              /* a batch of epoll_wait */
    LINGER_FIRST_MS = 2,       /* how soon to look whether a send queue is empty; doubles up to LINGER_LAST_MS */
    LINGER_LAST_MS = 500,
    LOOKS = 8,                 /* so often within its limit the timer looks at a tunnel that was active */
    KEEPALIVE_INTERVAL_S = 10, /* or the time before the first probe, where that is shorter */
    KEEPALIVE_PROBES = 10
};

static const uint64_t NEVER = UINT64_MAX;
static const size_t NOWHERE = SIZE_MAX;
static const uint64_t RETRY_PIPES_NS = 1000000000;
static const uint64_t CROWDED_NS = 50000000;
static const uint64_t POOL_LOOK_NS = 2000000000;

enum side { CLIENT, UPSTREAM };

struct pipe {
    int out; /* read end */
    int in;  /* write end */
    unsigned capacity;
};

/* One half-duplex: from one socket to the other. Bytes wait in `held` or in `pipe`, never in both. */
struct pump {
    struct pipe pipe;    /* pipe.capacity 0: none */
    size_t piped;        /* bytes in it */
    char *held;          /* bytes that were copied and could not be sent yet */
    size_t held_at, held_end;
    size_t turn;         /* bytes moved since it last ran dry */
    bool readable;       /* the source may have something: not known to be dry */
    bool writable;       /* the sink may take something: not known to be full */
    bool hangup;         /* epoll saw an end of file, an error or urgent data: a short read does not mean dry */
    bool bulk;           /* splice rather than copy */
    bool little;         /* the last splice brought little: others have their turn while more arrives */
    bool copy_only;      /* this socket cannot be spliced */
    bool eof;            /* the source has ended */
    bool done;           /* ... and the sink knows */
};

struct relay_tunnel {
    struct thread *thread;
    int fd[2];                   /* by side; -1 when closed */
    struct pump pump[2];         /* by source */
    uint64_t *counters;
    uint64_t active_ns;          /* last byte moved, or taken by a peer */
    uint64_t due_ns;             /* when its timer looks at it; its key in the heap */
    uint64_t idle_ns, half_close_ns;
    size_t heap_at;              /* its place in the thread's heap, or NOWHERE */
    struct relay_tunnel *next, *previous; /* all of the thread */
    struct relay_tunnel *queued; /* next in the inbox, then next with work left or next of the dead */
    struct relay_tunnel *next_aborted;
    void *tag;
    int abort;                   /* under the thread's lock: has been asked for, or comes too late */
    int unsent[2];               /* by side: what its peer had not taken yet when the timer looked */
    uint8_t cause;               /* RELAY_CAUSES: none yet */
    uint8_t first_fin;           /* likewise */
    uint8_t tls;                 /* enum tls */
    uint8_t tls_header_bytes;
    uint8_t tls_header[5];
    uint16_t tls_rest;
    uint16_t linger_ms;          /* > 0: waits for the send queue of the side that is left */
    int error[2];                /* a side is broken: it is read to its end, and then fails */
    bool is_adopted, is_queued, is_dead, failed[2];
    bool unwatched;              /* epoll would not have it */
    bool asks_out[2];            /* by side: epoll tells when it takes bytes again */
    bool resting;                /* nothing has moved lately, and nothing is unsent: the timer looks when the limit is up */
};

struct thread {
    struct relay *relay;
    pthread_t id;
    int epoll, wake;
    pthread_mutex_t lock;
    struct relay_tunnel *inbox;   /* under lock: added, not yet adopted; linked by `queued` */
    struct relay_tunnel *aborted; /* under lock: to be aborted */
    bool stop;                    /* under lock */
    _Atomic uint64_t wakes_at_ns; /* 0: awake, and looks at the above before it sleeps; else set under lock */
    struct relay_tunnel *tunnels, *ready, *ready_last, *dead;
    struct relay_tunnel **heap;
    size_t heap_size, heap_room;
    struct pipe pool[PIPES_POOLED];
    unsigned pooled, pooled_least; /* ... the least since the pool was looked at */
    unsigned pool_room;
    uint64_t now_ns, no_pipes_until_ns, look_at_pool_ns, crowded_until_ns;
    _Atomic uint64_t spliced, copied, pipes_in_use, pipes_pooled, fallbacks[RELAY_FALLBACKS];
    char *buffer;
};

struct relay {
    struct relay_options options;
    unsigned next;
    struct thread threads[];
};

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void bump(_Atomic uint64_t *total, uint64_t by)
{
    /* One writer: no need for a locked instruction. */
    atomic_store_explicit(total, atomic_load_explicit(total, memory_order_relaxed) + by, memory_order_relaxed);
}

static void set_counter(struct relay_tunnel *t, enum relay_counter which, uint64_t value)
{
    __atomic_store_n(&t->counters[which], value, __ATOMIC_RELAXED);
}

static uint64_t counter(const struct relay_tunnel *t, enum relay_counter which)
{
    return __atomic_load_n(&t->counters[which], __ATOMIC_RELAXED);
}

/* ---- Timers: a binary heap of tunnels by due_ns. Activity does not touch it: a timer that comes due looks at the clock. ---- */

static void heap_put(struct thread *th, size_t at, struct relay_tunnel *t)
{
    th->heap[at] = t;
    t->heap_at = at;
}

static void heap_up(struct thread *th, size_t at)
{
    struct relay_tunnel *t = th->heap[at];
    for (; at > 0 && t->due_ns < th->heap[(at - 1) / 2]->due_ns; at = (at - 1) / 2)
        heap_put(th, at, th->heap[(at - 1) / 2]);
    heap_put(th, at, t);
}

static void heap_down(struct thread *th, size_t at)
{
    struct relay_tunnel *t = th->heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= th->heap_size)
            break;
        if (child + 1 < th->heap_size && th->heap[child + 1]->due_ns < th->heap[child]->due_ns)
            child++;
        if (th->heap[child]->due_ns >= t->due_ns)
            break;
        heap_put(th, at, th->heap[child]);
        at = child;
    }
    heap_put(th, at, t);
}

static void timer_move(struct thread *th, struct relay_tunnel *t, uint64_t due_ns)
{
    t->due_ns = due_ns;
    heap_up(th, t->heap_at);
    heap_down(th, t->heap_at);
}

static bool timer_add(struct thread *th, struct relay_tunnel *t)
{
    if (th->heap_size == th->heap_room) {
        size_t room = th->heap_room ? th->heap_room * 2 : 64;
        struct relay_tunnel **heap = realloc(th->heap, room * sizeof *heap);
        if (!heap)
            return false;
        th->heap = heap;
        th->heap_room = room;
    }
    heap_put(th, th->heap_size++, t);
    heap_up(th, t->heap_at);
    return true;
}

static void timer_remove(struct thread *th, struct relay_tunnel *t)
{
    size_t at = t->heap_at;
    struct relay_tunnel *last = th->heap[--th->heap_size];
    if (last == t)
        return;
    heap_put(th, at, last);
    heap_up(th, at);
    heap_down(th, last->heap_at);
}

/* ---- Pipes ---- */

static void pipe_close(struct pipe *pipe)
{
    close(pipe->in);
    close(pipe->out);
    pipe->capacity = 0;
}

/* False: none is to be had now, and why was counted; then the bytes are copied. */
static bool pipe_take(struct thread *th, struct pipe *pipe)
{
    int ends[2], size = -1;
    if (th->pooled > 0) {
        *pipe = th->pool[--th->pooled];
        if (th->pooled < th->pooled_least)
            th->pooled_least = th->pooled;
        bump(&th->pipes_pooled, (uint64_t)-1);
        bump(&th->pipes_in_use, 1);
        return true;
    }
    if (th->now_ns < th->no_pipes_until_ns)
        return false;
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) {
        th->no_pipes_until_ns = th->now_ns + RETRY_PIPES_NS;
        bump(&th->fallbacks[RELAY_NO_DESCRIPTORS], 1);
        return false;
    }
    /* Above pipe-user-pages-soft a pipe is born with two pages and F_SETPIPE_SZ says EPERM: pipe(7). */
    for (int want = PIPE_BYTES; size < 0 && want >= PIPE_ENOUGH; want /= 2)
        size = fcntl(ends[1], F_SETPIPE_SZ, want);
    *pipe = (struct pipe){ .out = ends[0], .in = ends[1], .capacity = size > 0 ? (unsigned)size : 1 };
    if (size < 0) {
        pipe_close(pipe);
        th->no_pipes_until_ns = th->now_ns + RETRY_PIPES_NS;
        bump(&th->fallbacks[RELAY_NO_PIPE_PAGES], 1);
        return false;
    }
    bump(&th->pipes_in_use, 1);
    return true;
}

/* Gives a pump's pipe back. One that still holds bytes is closed: the next tunnel must not get them. */
static void pipe_give(struct thread *th, struct pump *p)
{
    if (p->pipe.capacity == 0)
        return;
    bump(&th->pipes_in_use, (uint64_t)-1);
    if (p->piped > 0 || th->pooled == th->pool_room) {
        pipe_close(&p->pipe);
    } else {
        if (th->pooled == 0) {
            th->look_at_pool_ns = th->now_ns + POOL_LOOK_NS;
            th->pooled_least = 0;
        }
        th->pool[th->pooled++] = p->pipe;
        bump(&th->pipes_pooled, 1);
    }
    p->pipe.capacity = 0;
    p->piped = 0;
}

/* Pipes that nobody has needed since the last look are closed: the allowance is the user's, not this process's alone. */
static void look_at_pool(struct thread *th)
{
    unsigned idle = th->pooled_least;
    for (unsigned i = 0; i < idle; i++)
        pipe_close(&th->pool[i]);
    th->pooled -= idle;
    memmove(th->pool, th->pool + idle, th->pooled * sizeof th->pool[0]);
    bump(&th->pipes_pooled, -(uint64_t)idle);
    th->pooled_least = th->pooled;
    th->look_at_pool_ns = th->now_ns + POOL_LOOK_NS;
}

/* ---- The end of a tunnel ---- */

static void drop_pump(struct thread *th, struct pump *p)
{
    pipe_give(th, p);
    free(p->held);
    p->held = NULL;
    p->held_at = p->held_end = 0;
    p->readable = false;
}

/*
 * On while a tunnel runs, so that a process that is killed, or has no more memory, resets its tunnels: the kernel would otherwise
 * send an end of file, and what was cut short would pass for complete.
 */
static void set_reset_on_close(int fd, bool on)
{
    struct linger now = { .l_onoff = on, .l_linger = 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

/* The one place where a tunnel's descriptors are closed. */
static void close_side(struct relay_tunnel *t, enum side side, bool reset)
{
    if (t->fd[side] < 0)
        return;
    if (!reset)
        set_reset_on_close(t->fd[side], false);
    /* close(2) would not take it out of the set while another process or a duplicate has the socket too. */
    epoll_ctl(t->thread->epoll, EPOLL_CTL_DEL, t->fd[side], NULL);
    close(t->fd[side]);
    t->fd[side] = -1;
}

static void finish(struct thread *th, struct relay_tunnel *t, enum relay_cause cause, bool reset)
{
    if (t->is_dead)
        return;
    if (t->cause == RELAY_CAUSES)
        t->cause = (uint8_t)cause;
    for (enum side side = CLIENT; side <= UPSTREAM; side++) {
        drop_pump(th, &t->pump[side]);
        close_side(t, side, reset);
    }
    if (t->heap_at != NOWHERE)
        timer_remove(th, t);
    if (t->previous)
        t->previous->next = t->next;
    else
        th->tunnels = t->next;
    if (t->next)
        t->next->previous = t->previous;
    t->is_dead = true;
    /* Events of this batch, and the ready queue, may still point to it: it is reported after them. */
    if (!t->is_queued) {
        t->queued = th->dead;
        th->dead = t;
    }
}

/* ---- Inactivity ---- */

/* The inactivity limit of a tunnel's present state. */
static uint64_t limit_of(const struct relay_tunnel *t, enum relay_cause *cause)
{
    bool half = t->first_fin != RELAY_CAUSES || t->cause != RELAY_CAUSES;
    uint64_t limit = t->idle_ns ? t->idle_ns : NEVER;
    *cause = RELAY_IDLE_TIMEOUT;
    if (half && t->half_close_ns && t->half_close_ns < limit) {
        limit = t->half_close_ns;
        *cause = RELAY_HALF_CLOSE_TIMEOUT;
    }
    return limit;
}

static bool is_over(const struct relay_tunnel *t, uint64_t now_ns, enum relay_cause *cause)
{
    uint64_t limit = limit_of(t, cause);
    return limit != NEVER && now_ns >= t->active_ns + limit;
}

/*
 * When the timer of a tunnel that is active at `now_ns` has to look: well before the limit is up, since a peer that takes what the
 * kernel has for it is active, too, and nothing tells but a look at the queue.
 */
static uint64_t next_look(const struct relay_tunnel *t, uint64_t now_ns)
{
    enum relay_cause unused;
    uint64_t limit = limit_of(t, &unused);
    return limit == NEVER ? NEVER : now_ns + limit / LOOKS;
}

static void touch(struct thread *th, struct relay_tunnel *t)
{
    t->active_ns = th->now_ns;
    if (t->resting) {
        t->resting = false;
        timer_move(th, t, next_look(t, th->now_ns));
    }
}

/* Its state has changed, and with it its limit, which begins here. */
static void begin_limit(struct thread *th, struct relay_tunnel *t)
{
    t->active_ns = th->now_ns;
    t->resting = false;
    timer_move(th, t, next_look(t, th->now_ns));
}

/* True while the kernel has bytes for this peer; one that has taken some since the last look is active. */
static bool has_unsent(struct thread *th, struct relay_tunnel *t, enum side side)
{
    int unsent = 0;
    if (t->fd[side] < 0 || ioctl(t->fd[side], SIOCOUTQ, &unsent) < 0)
        return false;
    if (unsent != t->unsent[side]) {
        t->unsent[side] = unsent;
        t->active_ns = th->now_ns;
    }
    return unsent > 0;
}

/* ---- The end of a tunnel, continued ---- */

/* A side that failed has had its bytes delivered: reset the other once its peer has taken them, since a RST drops the queue. */
static void linger(struct thread *th, struct relay_tunnel *t, bool on_time)
{
    enum side left = t->failed[CLIENT] ? UPSTREAM : CLIENT;
    enum relay_cause cause;
    if (!has_unsent(th, t, left)) {
        finish(th, t, t->cause, true);
        return;
    }
    if (is_over(t, th->now_ns, &cause)) {
        finish(th, t, cause, true);
        return;
    }
    if (t->linger_ms > 0 && !on_time)
        return;
    t->linger_ms = t->linger_ms == 0 ? LINGER_FIRST_MS : t->linger_ms * 2 > LINGER_LAST_MS ? LINGER_LAST_MS : (uint16_t)(t->linger_ms * 2);
    t->resting = false;
    timer_move(th, t, th->now_ns + t->linger_ms * (uint64_t)1000000);
}

/* Nothing more comes from a side, nor goes there; what was read of it goes on, and then the other is reset. */
static void fail(struct thread *th, struct relay_tunnel *t, enum side side)
{
    enum side other = 1 - side;
    if (t->failed[other]) {
        finish(th, t, t->cause, true);
        return;
    }
    t->failed[side] = true;
    t->pump[side].readable = false;
    close_side(t, side, true);
}

/*
 * A connection broke, or a write to it failed. The kernel may still have bytes that came before: they are read first, and
 * the read that finds no more calls fail.
 */
static void broke(struct thread *th, struct relay_tunnel *t, enum side side, int error)
{
    enum side other = 1 - side;
    bool timed_out = error == ETIMEDOUT || error == EHOSTUNREACH;
    if (t->error[side])
        return;
    t->error[side] = error;
    if (t->cause == RELAY_CAUSES)
        t->cause = side == CLIENT ? (timed_out ? RELAY_CLIENT_TIMEOUT : RELAY_CLIENT_RESET)
                                  : (timed_out ? RELAY_UPSTREAM_TIMEOUT : RELAY_UPSTREAM_RESET);
    if (t->error[other]) {
        finish(th, t, t->cause, true); /* nobody is left to deliver to */
        return;
    }
    drop_pump(th, &t->pump[other]);
    t->pump[side].readable = t->pump[side].hangup = true;
    begin_limit(th, t);
    if (t->pump[side].eof)
        fail(th, t, side);
}

/* ---- TLS records of the client: was there ever more than a handshake? See src/relay/handshake-only.ts. ---- */

enum tls { TLS_HELLO, TLS_CIPHERS_CHANGED, TLS_FINISHED, TLS_NO };

static void tls_record(struct relay_tunnel *t)
{
    uint8_t type = t->tls_header[0];
    t->tls_rest = (uint16_t)(t->tls_header[3] << 8 | t->tls_header[4]);
    t->tls_header_bytes = 0;
    if (t->tls_header[1] != 3)
        t->tls = TLS_NO;
    else if (t->tls == TLS_HELLO)
        t->tls = type == 22 ? TLS_HELLO : type == 20 ? TLS_CIPHERS_CHANGED : TLS_NO;
    else if (t->tls == TLS_CIPHERS_CHANGED)
        t->tls = type == 22 || type == 23 ? TLS_FINISHED : TLS_NO;
    else
        t->tls = type == 21 || (type == 23 && t->tls_rest == 19) ? TLS_FINISHED : TLS_NO;
}

static void tls_watch(struct relay_tunnel *t, const char *bytes, size_t count)
{
    if (t->tls == TLS_NO)
        return;
    while (count > 0 && t->tls != TLS_NO) {
        size_t step = t->tls_rest < count ? t->tls_rest : count;
        t->tls_rest = (uint16_t)(t->tls_rest - step);
        bytes += step;
        count -= step;
        if (count > 0) {
            t->tls_header[t->tls_header_bytes++] = (uint8_t)*bytes++;
            count--;
            if (t->tls_header_bytes == sizeof t->tls_header)
                tls_record(t);
        }
    }
    set_counter(t, RELAY_HANDSHAKE_ONLY, t->tls == TLS_FINISHED && t->tls_rest == 0 && t->tls_header_bytes == 0);
}

static void tls_give_up(struct relay_tunnel *t)
{
    t->tls = TLS_NO;
    set_counter(t, RELAY_HANDSHAKE_ONLY, 0);
}

/* ---- Moving bytes ---- */

static struct epoll_event watch_of(const struct relay_tunnel *t, enum side side)
{
    return (struct epoll_event){
        .events = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET | (t->asks_out[side] ? EPOLLOUT : 0),
        .data.u64 = (uint64_t)(uintptr_t)t | side,
    };
}

static void moved(struct thread *th, struct relay_tunnel *t, enum side from, size_t count)
{
    enum relay_counter bytes = from == CLIENT ? RELAY_BYTES_UP : RELAY_BYTES_DOWN;
    if (from == UPSTREAM && counter(t, RELAY_BYTES_DOWN) == 0)
        set_counter(t, RELAY_FIRST_BYTE_NS, th->now_ns);
    set_counter(t, bytes, counter(t, bytes) + count);
    t->pump[from].turn += count;
    touch(th, t);
}

/* The sink is full: epoll is to tell when it is not. Until a sink is full for the first time, nobody asks. */
static void full(struct thread *th, struct relay_tunnel *t, enum side from)
{
    enum side to = 1 - from;
    struct epoll_event event;
    t->pump[from].writable = false;
    if (t->asks_out[to])
        return;
    t->asks_out[to] = true;
    event = watch_of(t, to);
    /* It reports the present state, too: what became of the sink meanwhile is not lost. */
    if (epoll_ctl(th->epoll, EPOLL_CTL_MOD, t->fd[to], &event) < 0)
        finish(th, t, RELAY_ABORTED, true);
}

/* True when nothing waits to be sent. Otherwise the sink is full, or has failed. */
static bool flush(struct thread *th, struct relay_tunnel *t, enum side from)
{
    struct pump *p = &t->pump[from];
    enum side to = 1 - from;
    while (p->held_at < p->held_end || p->piped > 0) {
        ssize_t n;
        if (!p->writable)
            return false;
        if (p->held_at < p->held_end)
            n = send(t->fd[to], p->held + p->held_at, p->held_end - p->held_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        else
            n = splice(p->pipe.out, NULL, t->fd[to], NULL, p->piped, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            if (errno == EAGAIN) {
                full(th, t, from);
            } else {
                p->writable = false;
                broke(th, t, to, errno);
            }
            return false;
        }
        touch(th, t);
        if (p->held_at < p->held_end)
            p->held_at += (size_t)n;
        else
            p->piped -= (size_t)n;
    }
    if (p->held) {
        free(p->held);
        p->held = NULL;
        p->held_at = p->held_end = 0;
    }
    return true;
}

/* Keeps what the sink did not take. Memory that is not to be had ends this tunnel, not the process. */
static bool hold(struct pump *p, const char *bytes, size_t count)
{
    p->held = malloc(count);
    if (!p->held)
        return false;
    memcpy(p->held, bytes, count);
    p->held_at = 0;
    p->held_end = count;
    return true;
}

/* A read brought nothing: `error` is 0 at the end of file. */
static void dry(struct thread *th, struct relay_tunnel *t, enum side from, int error)
{
    struct pump *p = &t->pump[from];
    if (error == EINTR)
        return;
    if (t->error[from]) {
        fail(th, t, from);
    } else if (error == 0) {
        p->eof = true;
    } else if (error == EAGAIN) {
        p->readable = false;
    } else {
        broke(th, t, from, error);
        if (!t->is_dead && !t->failed[from])
            fail(th, t, from);
    }
}

static size_t turn_bytes(const struct thread *th)
{
    return th->now_ns < th->crowded_until_ns ? TURN_CROWDED : TURN_BYTES;
}

static void copy_some(struct thread *th, struct relay_tunnel *t, enum side from)
{
    struct pump *p = &t->pump[from];
    enum side to = 1 - from;
    size_t want = p->bulk ? BUFFER_BYTES : SMALL_BYTES, sent = 0;
    ssize_t n = recv(t->fd[from], th->buffer, want, MSG_DONTWAIT);
    if (n <= 0) {
        dry(th, t, from, n < 0 ? errno : 0);
        return;
    }
    moved(th, t, from, (size_t)n);
    bump(&th->copied, (uint64_t)n);
    if (from == CLIENT)
        tls_watch(t, th->buffer, (size_t)n);
    /* A short read means dry (epoll(7)), unless an end of file or an error waits behind it, for which no edge will come. */
    if ((size_t)n < want && !p->hangup)
        p->readable = false;
    if ((size_t)n == want)
        p->bulk = true;
    while (sent < (size_t)n) {
        ssize_t m = send(t->fd[to], th->buffer + sent, (size_t)n - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (m < 0 && errno == EINTR)
            continue;
        if (m < 0) {
            if (errno != EAGAIN) {
                p->writable = false;
                broke(th, t, to, errno);
            } else if (hold(p, th->buffer + sent, (size_t)n - sent)) {
                full(th, t, from);
            } else {
                finish(th, t, RELAY_ABORTED, true);
            }
            return;
        }
        sent += (size_t)m;
    }
}

static void splice_some(struct thread *th, struct relay_tunnel *t, enum side from)
{
    struct pump *p = &t->pump[from];
    size_t most = turn_bytes(th);
    ssize_t n = splice(t->fd[from], NULL, p->pipe.in, NULL, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0) {
        p->piped = (size_t)n;
        p->little = (size_t)n < most / 2;
        moved(th, t, from, (size_t)n);
        bump(&th->spliced, (uint64_t)n);
        if (from == CLIENT && t->tls != TLS_NO)
            tls_give_up(t);
    } else if (n < 0 && errno == EINVAL) {
        p->copy_only = true;
        bump(&th->fallbacks[RELAY_NO_SPLICE], 1);
    } else if (n == 0) {
        p->bulk = false; /* the end of file, or bytes that splice does not get over with one behind them: recv tells */
    } else {
        dry(th, t, from, errno); /* EAGAIN is "nothing to read", not "pipe full": the pipe is empty */
    }
}

static void enqueue(struct thread *th, struct relay_tunnel *t)
{
    if (t->is_queued)
        return;
    t->is_queued = true;
    t->queued = NULL;
    if (th->ready)
        th->ready_last->queued = t;
    else
        th->ready = t;
    th->ready_last = t;
}

/* Moves one half as far as it goes in one turn. */
static void run(struct thread *th, struct relay_tunnel *t, enum side from)
{
    struct pump *p = &t->pump[from];
    enum side to = 1 - from;
    size_t stop_at = p->turn + turn_bytes(th);
    while (!t->is_dead && !t->error[to]) {
        if (!flush(th, t, from))
            return;
        if (t->failed[from]) {
            linger(th, t, false);
            return;
        }
        if (p->eof) {
            pipe_give(th, p);
            if (p->done)
                return;
            p->done = true;
            if (t->first_fin == RELAY_CAUSES)
                t->first_fin = from == CLIENT ? RELAY_CLIENT_FIN : RELAY_UPSTREAM_FIN;
            if (shutdown(t->fd[to], SHUT_WR) < 0) {
                broke(th, t, to, errno);
                return;
            }
            if (t->pump[to].done) {
                finish(th, t, t->first_fin, false);
                return;
            }
            begin_limit(th, t);
            return;
        }
        if (!p->readable || !p->writable) {
            if (!p->readable) {
                pipe_give(th, p);
                if (p->turn < BULK_BYTES)
                    p->bulk = false;
                p->turn = 0;
            }
            return;
        }
        if (p->turn >= stop_at || (p->bulk && p->little)) {
            p->little = false;
            pipe_give(th, p);
            enqueue(th, t);
            return;
        }
        if (p->bulk && !p->copy_only && (p->pipe.capacity > 0 || pipe_take(th, &p->pipe))) {
            splice_some(th, t, from);
        } else {
            pipe_give(th, p);
            copy_some(th, t, from);
        }
    }
}

/* A side may break while the other is served: then it is read once more, or lingers. */
static void run_both(struct thread *th, struct relay_tunnel *t)
{
    if (!t->is_dead)
        run(th, t, CLIENT);
    if (!t->is_dead)
        run(th, t, UPSTREAM);
    if (!t->is_dead && t->error[CLIENT] && t->linger_ms == 0)
        run(th, t, CLIENT);
}

/* ---- The threads ---- */

static void adopt(struct thread *th, struct relay_tunnel *t)
{
    t->is_adopted = true;
    th->crowded_until_ns = th->now_ns + CROWDED_NS;
    t->next = th->tunnels;
    if (t->next)
        t->next->previous = t;
    th->tunnels = t;
    /* Memory or watches that are not to be had end this tunnel, not the process. */
    if (t->unwatched || !timer_add(th, t))
        finish(th, t, RELAY_ABORTED, true);
}

static void adopt_all(struct thread *th, struct relay_tunnel *t)
{
    while (t) {
        struct relay_tunnel *next = t->queued;
        adopt(th, t);
        t = next;
    }
}

static void abort_all(struct thread *th, struct relay_tunnel *t)
{
    while (t) {
        struct relay_tunnel *next = t->next_aborted;
        finish(th, t, RELAY_ABORTED, true);
        t = next;
    }
}

/* An event came of a tunnel that was added since the thread last looked. */
static void take_in(struct thread *th)
{
    struct relay_tunnel *added;
    pthread_mutex_lock(&th->lock);
    added = th->inbox;
    th->inbox = NULL;
    pthread_mutex_unlock(&th->lock);
    adopt_all(th, added);
}

static bool is_bulk(const struct pump *p)
{
    return p->bulk && (p->readable || p->piped > 0);
}

static void on_event(struct thread *th, struct relay_tunnel *t, enum side side, uint32_t events)
{
    enum side other = 1 - side;
    if (!t->is_adopted)
        take_in(th);
    if (t->is_dead)
        return;
    if (events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        t->pump[side].readable = true;
        if (events & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            t->pump[side].hangup = true;
        if (events & EPOLLPRI)
            t->pump[side].copy_only = true; /* splice(2) does not get over an urgent byte */
    }
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        t->pump[other].writable = true;
    if (events & (EPOLLERR | EPOLLHUP)) {
        /* Asked for, since a side that has ended its half, or is not read while the other stalls, would not tell. */
        int error = 0;
        socklen_t length = sizeof error;
        getsockopt(t->fd[side], SOL_SOCKET, SO_ERROR, &error, &length);
        /* A connection that is closed both ways, not by us, was reset, also where somebody has read the error before. */
        if (error == 0 && (events & EPOLLHUP) && !t->pump[other].done)
            error = ECONNRESET;
        if (error != 0)
            broke(th, t, side, error);
    }
    /* Bulk has its turns behind all that is small. */
    if (!t->is_dead && (is_bulk(&t->pump[CLIENT]) || is_bulk(&t->pump[UPSTREAM])))
        enqueue(th, t);
    else
        run_both(th, t);
}

static void on_timer(struct thread *th, struct relay_tunnel *t)
{
    enum relay_cause cause;
    uint64_t look, end;
    bool unsent;
    if (t->linger_ms > 0) {
        linger(th, t, true);
        return;
    }
    unsent = has_unsent(th, t, CLIENT);
    unsent |= has_unsent(th, t, UPSTREAM);
    if (is_over(t, th->now_ns, &cause)) {
        finish(th, t, cause, true);
        return;
    }
    look = next_look(t, th->now_ns);
    end = limit_of(t, &cause) == NEVER ? NEVER : t->active_ns + limit_of(t, &cause);
    t->resting = !unsent && next_look(t, t->active_ns) <= th->now_ns;
    timer_move(th, t, t->resting || end < look ? end : look);
}

/* One turn of bulk: then epoll is asked for what is small. */
static void run_ready(struct thread *th)
{
    while (th->ready) {
        struct relay_tunnel *t = th->ready;
        th->ready = t->queued;
        t->is_queued = false;
        if (!t->is_dead) {
            run_both(th, t);
            return;
        }
        t->queued = th->dead;
        th->dead = t;
    }
}

/* Reports those that have ended. */
static void bury(struct thread *th)
{
    while (th->dead) {
        struct relay_tunnel *dead = th->dead, *added, *aborted;
        th->dead = NULL;
        pthread_mutex_lock(&th->lock);
        /* Its owner may free a tunnel that was reported: then it must not be in this list, nor get there. */
        added = th->inbox;
        aborted = th->aborted;
        th->inbox = th->aborted = NULL;
        for (struct relay_tunnel *t = dead; t; t = t->queued)
            t->abort = true;
        pthread_mutex_unlock(&th->lock);
        adopt_all(th, added);
        abort_all(th, aborted);
        while (dead) {
            struct relay_tunnel *t = dead;
            dead = t->queued;
            th->relay->options.ended(th->relay->options.owner, t, t->cause);
        }
    }
}

static uint64_t sleeps_until(const struct thread *th)
{
    uint64_t until_ns = NEVER;
    if (th->ready)
        return 0;
    if (th->heap_size > 0)
        until_ns = th->heap[0]->due_ns;
    return th->pooled > 0 && th->look_at_pool_ns < until_ns ? th->look_at_pool_ns : until_ns;
}

static int patience(uint64_t now_ns, uint64_t until_ns)
{
    uint64_t wait;
    if (until_ns == NEVER)
        return -1;
    if (until_ns <= now_ns)
        return 0;
    wait = (until_ns - now_ns + 999999) / 1000000;
    return wait > 86400000 ? 86400000 : (int)wait;
}

/*
 * Sees to what the owner has left here, the last time before the thread sleeps: whoever leaves something after that wakes it.
 * False: the relay has been stopped. Nothing is added behind a stop.
 */
static bool look_around(struct thread *th, int *wait)
{
    struct relay_tunnel *added, *aborted;
    do {
        uint64_t until_ns = sleeps_until(th);
        pthread_mutex_lock(&th->lock);
        bool stop = th->stop;
        added = th->inbox;
        aborted = th->aborted;
        th->inbox = th->aborted = NULL;
        atomic_store_explicit(&th->wakes_at_ns, added || aborted ? 0 : until_ns, memory_order_relaxed);
        pthread_mutex_unlock(&th->lock);
        adopt_all(th, added);
        abort_all(th, aborted);
        if (stop)
            return false;
        bury(th);
        *wait = patience(th->now_ns, until_ns);
    } while (added || aborted);
    return true;
}

static void *thread_main(void *argument)
{
    struct thread *th = argument;
    struct epoll_event events[EVENTS];
    int wait, nice = getpriority(PRIO_PROCESS, 0); /* this thread's, on Linux */
    /* Bulk fills what there is of a processor: the owner's thread, whose new tunnels wait for it, goes first. */
    setpriority(PRIO_PROCESS, 0, nice + NICER);
    while (look_around(th, &wait)) {
        int count = epoll_wait(th->epoll, events, EVENTS, wait);
        atomic_store_explicit(&th->wakes_at_ns, 0, memory_order_relaxed);
        th->now_ns = clock_ns();
        for (int i = 0; i < count; i++) {
            uint64_t tagged = events[i].data.u64, wakes;
            if (tagged != 0)
                on_event(th, (struct relay_tunnel *)(uintptr_t)(tagged & ~(uint64_t)1), tagged & 1, events[i].events);
            else if (read(th->wake, &wakes, sizeof wakes) < 0)
                continue; /* EAGAIN: somebody else's wake was read with ours */
        }
        run_ready(th);
        while (th->heap_size > 0 && th->heap[0]->due_ns <= th->now_ns)
            on_timer(th, th->heap[0]);
        if (th->pooled > 0 && th->look_at_pool_ns <= th->now_ns)
            look_at_pool(th);
        bury(th);
    }
    while (th->tunnels)
        finish(th, th->tunnels, RELAY_ABORTED, true);
    for (struct relay_tunnel *t = th->ready; t;) {
        struct relay_tunnel *next = t->queued;
        t->queued = th->dead;
        th->dead = t;
        t = next;
    }
    bury(th);
    return NULL;
}

/* ---- The owner's side ---- */

static void wake(struct thread *th)
{
    uint64_t one = 1;
    if (write(th->wake, &one, sizeof one) < 0) {
        /* EAGAIN: the counter is full, so a wake is under way already */
    }
}

/* Under lock: whether a thread sleeps beyond `due_ns`, and is to be woken; nobody else needs to do it again. */
static bool is_late(struct thread *th, uint64_t due_ns)
{
    if (atomic_load_explicit(&th->wakes_at_ns, memory_order_relaxed) <= due_ns)
        return false;
    atomic_store_explicit(&th->wakes_at_ns, 0, memory_order_relaxed);
    return true;
}

static void thread_close(struct thread *th)
{
    while (th->pooled > 0)
        pipe_close(&th->pool[--th->pooled]);
    free(th->heap);
    free(th->buffer);
    if (th->epoll >= 0)
        close(th->epoll);
    if (th->wake >= 0)
        close(th->wake);
    pthread_mutex_destroy(&th->lock);
}

static bool thread_open(struct thread *th, struct relay *relay)
{
    struct epoll_event event = { .events = EPOLLIN, .data.u64 = 0 };
    sigset_t all, before;
    int failed;
    th->relay = relay;
    th->pool_room = PIPES_POOLED / relay->options.threads;
    if (th->pool_room == 0)
        th->pool_room = 1;
    pthread_mutex_init(&th->lock, NULL);
    th->epoll = epoll_create1(EPOLL_CLOEXEC);
    th->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    th->buffer = malloc(BUFFER_BYTES);
    th->now_ns = clock_ns();
    if (th->epoll < 0 || th->wake < 0 || !th->buffer || epoll_ctl(th->epoll, EPOLL_CTL_ADD, th->wake, &event) < 0) {
        int error = th->buffer ? errno : ENOMEM;
        thread_close(th);
        errno = error;
        return false;
    }
    /* Signals are for the owner's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&th->id, NULL, thread_main, th);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        thread_close(th);
        errno = failed;
    }
    return !failed;
}

struct relay *relay_start(const struct relay_options *options)
{
    struct relay *relay = calloc(1, sizeof *relay + options->threads * sizeof relay->threads[0]);
    if (!relay)
        return NULL;
    relay->options = *options;
    for (unsigned i = 0; i < options->threads; i++) {
        if (!thread_open(&relay->threads[i], relay)) {
            int error = errno;
            relay->options.threads = i;
            relay_stop(relay);
            errno = error;
            return NULL;
        }
    }
    return relay;
}

static void set_option(int fd, int level, int name, unsigned value)
{
    setsockopt(fd, level, name, &value, sizeof value);
}

static void set_options(int fd, const struct relay_tunnel_options *options)
{
    /* Urgent bytes are bytes of the stream (RFC 6093); by default the kernel takes them out. */
    set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1);
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_reset_on_close(fd, true);
    if (options->user_timeout_ms)
        set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, options->user_timeout_ms);
    if (options->keepalive_s) {
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, options->keepalive_s);
        set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL,
                   options->keepalive_s < KEEPALIVE_INTERVAL_S ? options->keepalive_s : KEEPALIVE_INTERVAL_S);
        set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    }
}

/* Sends now what the sink takes, so that nobody waits for a thread. The rest is held. A write that fails is met again by the thread. */
static bool send_first(struct relay_tunnel *t, enum side from, const char *bytes, size_t count)
{
    struct pump *p = &t->pump[from];
    ssize_t sent;
    p->writable = true;
    if (count == 0)
        return true;
    sent = send(t->fd[1 - from], bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0)
        sent = 0;
    if ((size_t)sent == count)
        return true;
    p->writable = false;
    t->asks_out[1 - from] = true;
    return hold(p, bytes + sent, count - (size_t)sent);
}

struct relay_tunnel *relay_add(struct relay *relay, const struct relay_tunnel_options *options)
{
    struct thread *th = &relay->threads[relay->next++ % relay->options.threads];
    struct relay_tunnel *t = calloc(1, sizeof *t);
    bool asleep;
    if (!t)
        return NULL;
    t->thread = th;
    t->fd[CLIENT] = options->client;
    t->fd[UPSTREAM] = options->upstream;
    t->counters = options->counters;
    t->idle_ns = options->idle_ms * 1000000;
    t->half_close_ns = options->half_close_ms * 1000000;
    t->heap_at = NOWHERE;
    t->tag = options->tag;
    t->cause = t->first_fin = RELAY_CAUSES;
    t->active_ns = clock_ns();
    t->due_ns = next_look(t, t->active_ns);
    set_counter(t, RELAY_BYTES_UP, options->up_bytes);
    set_counter(t, RELAY_BYTES_DOWN, options->down_bytes - options->down_uncounted);
    set_counter(t, RELAY_FIRST_BYTE_NS, options->down_bytes > options->down_uncounted ? t->active_ns : 0);
    tls_watch(t, options->up, options->up_bytes);
    set_options(options->client, options);
    set_options(options->upstream, options);
    t->unwatched = !send_first(t, UPSTREAM, options->down, options->down_bytes) || !send_first(t, CLIENT, options->up, options->up_bytes);
    pthread_mutex_lock(&th->lock);
    /* What a socket has to say already is an edge of its own: no need to try it. Its thread waits for the lock, then. */
    for (enum side side = CLIENT; side <= UPSTREAM && !t->unwatched; side++) {
        struct epoll_event event = watch_of(t, side);
        t->unwatched = epoll_ctl(th->epoll, EPOLL_CTL_ADD, t->fd[side], &event) < 0;
    }
    t->queued = th->inbox;
    th->inbox = t;
    asleep = is_late(th, t->unwatched ? 0 : t->due_ns);
    pthread_mutex_unlock(&th->lock);
    if (asleep)
        wake(th);
    return t;
}

void relay_abort(struct relay *relay, struct relay_tunnel *t)
{
    struct thread *th = t->thread;
    bool asleep = false;
    (void)relay;
    pthread_mutex_lock(&th->lock);
    if (!t->abort) {
        t->abort = true;
        t->next_aborted = th->aborted;
        th->aborted = t;
        asleep = is_late(th, 0);
    }
    pthread_mutex_unlock(&th->lock);
    if (asleep)
        wake(th);
}

void *relay_tag(const struct relay_tunnel *tunnel)
{
    return tunnel->tag;
}

void relay_free(struct relay_tunnel *tunnel)
{
    free(tunnel);
}

void relay_read_totals(struct relay *relay, struct relay_totals *totals)
{
    memset(totals, 0, sizeof *totals);
    for (unsigned i = 0; i < relay->options.threads; i++) {
        struct thread *th = &relay->threads[i];
        totals->spliced_bytes += atomic_load_explicit(&th->spliced, memory_order_relaxed);
        totals->copied_bytes += atomic_load_explicit(&th->copied, memory_order_relaxed);
        totals->pipes_in_use += atomic_load_explicit(&th->pipes_in_use, memory_order_relaxed);
        totals->pipes_pooled += atomic_load_explicit(&th->pipes_pooled, memory_order_relaxed);
        for (int why = 0; why < RELAY_FALLBACKS; why++)
            totals->fallbacks[why] += atomic_load_explicit(&th->fallbacks[why], memory_order_relaxed);
    }
}

void relay_stop(struct relay *relay)
{
    for (unsigned i = 0; i < relay->options.threads; i++) {
        struct thread *th = &relay->threads[i];
        pthread_mutex_lock(&th->lock);
        th->stop = true;
        pthread_mutex_unlock(&th->lock);
        wake(th);
    }
    for (unsigned i = 0; i < relay->options.threads; i++) {
        pthread_join(relay->threads[i].id, NULL);
        thread_close(&relay->threads[i]);
    }
    free(relay);
}
