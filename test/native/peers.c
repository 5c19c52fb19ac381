/* peers.c - see peers.h. */
#include "peers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    PATIENCE_MS = 20000,
    STEP_BYTES = 256 * 1024,
    TEXT_BYTES = 1048583 /* a prime: a shift by any buffer's size shows */
};

/* ---- Test Anything Protocol ---- */

static unsigned number, failures, seconds = 30;
static bool failed;
static const char *running = "", *wanted = "";

bool check(bool holds, const char *what, const char *file, int line)
{
    if (!holds) {
        printf("# %s:%d: %s\n", file, line, what);
        fflush(stdout);
        failed = true;
    }
    return holds;
}

void need(bool holds, const char *what, const char *file, int line)
{
    if (holds)
        return;
    printf("# %s:%d: %s (errno: %s)\nnot ok %u - %s\nBail out!\n", file, line, what, strerror(errno), number, running);
    fflush(stdout);
    _exit(1);
}

void comment(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("# ", stdout);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
    fflush(stdout);
}

void limit(unsigned allowed)
{
    seconds = allowed;
}

void only(const char *words)
{
    wanted = words;
}

static void too_long(int signal)
{
    static const char words[] = "# it did not end\nnot ok\nBail out!\n";
    (void)signal;
    if (write(STDOUT_FILENO, words, sizeof words - 1) < 0) {
        /* nobody to tell */
    }
    _exit(1);
}

static void begin(const char *promise)
{
    number++;
    running = promise;
    failed = false;
    fflush(stdout);
    signal(SIGALRM, too_long);
    alarm(seconds);
}

static void end(void)
{
    alarm(0);
    failures += failed;
    printf("%sok %u - %s\n", failed ? "not " : "", number, running);
    fflush(stdout);
}

void test(const char *promise, void (*body)(void))
{
    unsigned before = descriptors();
    if (!strstr(promise, wanted))
        return;
    begin(promise);
    body();
    check(descriptors() == before, "no descriptor is left", __FILE__, __LINE__);
    end();
}

void test_in_child(const char *promise, void (*body)(void))
{
    int status = -1;
    if (!strstr(promise, wanted))
        return;
    begin(promise);
    pid_t child = fork();
    NEED(child >= 0);
    if (child == 0) {
        body();
        fflush(stdout);
        _exit(failed);
    }
    NEED(waitpid(child, &status, 0) == child);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child process found all as it should be", __FILE__, __LINE__);
    end();
}

int tested(void)
{
    printf("1..%u\n", number);
    fflush(stdout);
    return failures > 0;
}

/* ---- The machine ---- */

uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void sleep_ms(unsigned ms)
{
    struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

unsigned descriptors(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    NEED(dir != NULL);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* ---- Connections ---- */

void non_blocking(int fd)
{
    NEED(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
}

static void set_option(int fd, int level, int name, int value)
{
    NEED(setsockopt(fd, level, name, &value, sizeof value) == 0);
}

static void set_buffers(int fd, int bytes)
{
    if (!bytes)
        return;
    /* Beyond net.core.wmem_max and rmem_max where we may. */
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) < 0)
        set_option(fd, SOL_SOCKET, SO_SNDBUF, bytes);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0)
        set_option(fd, SOL_SOCKET, SO_RCVBUF, bytes);
}

void connection(int family, int buffer_bytes, int *made, int *accepted)
{
    struct sockaddr_storage address = { 0 };
    socklen_t length = family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
    int listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    NEED(listener >= 0);
    if (family == AF_INET6) {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)&address;
        six->sin6_family = AF_INET6;
        six->sin6_addr = in6addr_loopback;
    } else {
        struct sockaddr_in *four = (struct sockaddr_in *)&address;
        four->sin_family = AF_INET;
        four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    set_buffers(listener, buffer_bytes);
    NEED(bind(listener, (struct sockaddr *)&address, length) == 0);
    NEED(listen(listener, 1) == 0);
    NEED(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    *made = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    NEED(*made >= 0);
    set_buffers(*made, buffer_bytes);
    NEED(connect(*made, (struct sockaddr *)&address, length) == 0);
    *accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    NEED(*accepted >= 0);
    close(listener);
    for (int i = 0; i < 2; i++) {
        int fd = i ? *accepted : *made;
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        NEED(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
        NEED(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0);
    }
}

void reset(int fd)
{
    struct linger now = { .l_onoff = 1, .l_linger = 0 };
    NEED(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
    close(fd);
}

size_t unacknowledged(int fd)
{
    int bytes = 0;
    NEED(ioctl(fd, SIOCOUTQ, &bytes) == 0);
    return (size_t)bytes;
}

/* ---- Tunnels ---- */

static pthread_mutex_t end_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t end_signal;
static unsigned tunnels;

static void on_ended(void *owner, struct relay_tunnel *handle, enum relay_cause cause)
{
    struct tunnel *tunnel = relay_tag(handle);
    (void)owner;
    pthread_mutex_lock(&end_lock);
    tunnel->cause = cause;
    tunnel->ended_ms = now_ms();
    atomic_fetch_add(&tunnel->ended, 1);
    tunnels--;
    pthread_cond_broadcast(&end_signal);
    pthread_mutex_unlock(&end_lock);
}

struct relay *start(unsigned threads)
{
    static bool ready;
    if (!ready) {
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&end_signal, &attributes);
        pthread_condattr_destroy(&attributes);
        ready = true;
    }
    struct relay *relay = relay_start(&(struct relay_options){ .threads = threads, .ended = on_ended });
    NEED(relay != NULL);
    return relay;
}

void stop(struct relay *relay)
{
    CHECK(totals(relay).pipes_in_use == 0);
    relay_stop(relay);
    pthread_mutex_lock(&end_lock);
    CHECK(tunnels == 0);
    pthread_mutex_unlock(&end_lock);
}

void tunnel_open(struct relay *relay, struct tunnel *tunnel, const struct tunnel_options *options)
{
    int family = options->family ? options->family : AF_INET;
    memset(tunnel, 0, sizeof *tunnel);
    memset(tunnel->counters, 0xee, sizeof tunnel->counters); /* the memory of an earlier tunnel */
    connection(family, options->buffer_bytes, &tunnel->peer[CLIENT], &tunnel->inner[CLIENT]);
    connection(family, options->buffer_bytes, &tunnel->inner[UPSTREAM], &tunnel->peer[UPSTREAM]);
    non_blocking(tunnel->inner[CLIENT]);
    non_blocking(tunnel->inner[UPSTREAM]);
    if (options->before)
        options->before(tunnel);
    pthread_mutex_lock(&end_lock);
    tunnels++;
    pthread_mutex_unlock(&end_lock);
    tunnel->handle = relay_add(relay, &(struct relay_tunnel_options){
        .client = tunnel->inner[CLIENT], .upstream = tunnel->inner[UPSTREAM],
        .up = options->up, .up_bytes = options->up_bytes,
        .down = options->down, .down_bytes = options->down_bytes, .down_uncounted = options->down_uncounted,
        .counters = tunnel->counters, .idle_ms = options->idle_ms, .half_close_ms = options->half_close_ms,
        .user_timeout_ms = options->user_timeout_ms, .keepalive_s = options->keepalive_s, .tag = tunnel });
    NEED(tunnel->handle != NULL);
}

bool tunnel_ends(struct tunnel *tunnel)
{
    struct timespec until;
    int error = 0;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    pthread_mutex_lock(&end_lock);
    while (atomic_load(&tunnel->ended) == 0 && error == 0)
        error = pthread_cond_timedwait(&end_signal, &end_lock, &until);
    pthread_mutex_unlock(&end_lock);
    return atomic_load(&tunnel->ended) == 1;
}

void tunnel_close(struct tunnel *tunnel)
{
    NEED(tunnel_ends(tunnel));
    relay_free(tunnel->handle);
    for (enum side side = CLIENT; side <= UPSTREAM; side++)
        if (tunnel->peer[side] >= 0)
            close(tunnel->peer[side]);
}

bool tunnel_ended(struct tunnel *tunnel, enum relay_cause cause)
{
    tunnel_close(tunnel);
    if (tunnel->cause == cause)
        return true;
    comment("the cause is %s, not %s", cause_name(tunnel->cause), cause_name(cause));
    return false;
}

uint64_t counted(const struct tunnel *tunnel, enum relay_counter which)
{
    return __atomic_load_n(&tunnel->counters[which], __ATOMIC_RELAXED);
}

const char *cause_name(enum relay_cause cause)
{
    static const char *const names[] = { "client_fin", "upstream_fin", "client_reset", "upstream_reset", "client_timeout",
                                         "upstream_timeout", "idle_timeout", "half_close_timeout", "aborted" };
    return cause < RELAY_CAUSES ? names[cause] : "none";
}

struct relay_totals totals(struct relay *relay)
{
    struct relay_totals now;
    relay_read_totals(relay, &now);
    return now;
}

/* ---- Peers ---- */

/* The text twice over, so that any part of one length lies in one piece. */
const char *text_at(uint64_t offset)
{
    static char *text;
    if (!text) {
        uint64_t state = 88172645463325252;
        text = malloc(2 * TEXT_BYTES);
        NEED(text != NULL);
        for (size_t i = 0; i < TEXT_BYTES; i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text[i] = (char)(state >> 32);
        }
        memcpy(text + TEXT_BYTES, text, TEXT_BYTES);
    }
    return text + offset % TEXT_BYTES;
}

struct peer peer(int fd, uint64_t text, uint64_t expects)
{
    non_blocking(fd);
    return (struct peer){ .fd = fd, .text = text, .expects = expects, .limit = UINT64_MAX };
}

static bool wants_to_send(const struct peer *p)
{
    return !p->broken && (p->sent < p->to_send || (p->ends && !p->ended));
}

static bool wants_to_read(const struct peer *p)
{
    return p->saw == OPEN && p->received < p->limit;
}

static bool step_out(struct peer *p)
{
    if (!wants_to_send(p))
        return false;
    uint64_t left = p->to_send - p->sent;
    ssize_t n = 0;
    if (left > 0)
        n = send(p->fd, text_at(p->text + p->sent), left < STEP_BYTES ? (size_t)left : STEP_BYTES, MSG_NOSIGNAL);
    if (n < 0) {
        p->broken = errno != EAGAIN && errno != EWOULDBLOCK;
        return p->broken;
    }
    p->sent += (uint64_t)n;
    if (p->sent == p->to_send && p->ends && !p->ended) {
        p->ended = true;
        p->broken = shutdown(p->fd, SHUT_WR) < 0;
    }
    return true;
}

static bool step_in(struct peer *p)
{
    static char buffer[STEP_BYTES];
    if (!wants_to_read(p))
        return false;
    uint64_t left = p->limit - p->received;
    ssize_t n = recv(p->fd, buffer, left < sizeof buffer ? (size_t)left : sizeof buffer, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return false;
    /* The write that failed took the error along: what reads like an end of file behind it is none. */
    if (n <= 0)
        p->saw = n < 0 || p->broken ? RESET : FIN;
    else if (memcmp(buffer, text_at(p->expects + p->received), (size_t)n) != 0)
        p->differs = true;
    if (n > 0)
        p->received += (uint64_t)n;
    return true;
}

bool peer_step(struct peer *p)
{
    bool out = step_out(p);
    return step_in(p) || out;
}

bool peer_sends_urgent(struct peer *p)
{
    if (send(p->fd, text_at(p->text + p->sent), 1, MSG_OOB | MSG_NOSIGNAL) != 1)
        return false;
    p->sent++;
    p->to_send = p->to_send < p->sent ? p->sent : p->to_send;
    return true;
}

bool wait_for(struct peer *peers, size_t count, int ms)
{
    struct pollfd polled[256];
    NEED(count <= sizeof polled / sizeof polled[0]);
    for (size_t i = 0; i < count; i++) {
        short events = (short)((wants_to_send(&peers[i]) ? POLLOUT : 0) | (wants_to_read(&peers[i]) ? POLLIN : 0));
        /* Without events it would still tell of errors, again and again. */
        polled[i] = (struct pollfd){ .fd = events ? peers[i].fd : -1, .events = events };
    }
    return poll(polled, count, ms) > 0;
}

bool drive(struct peer *peers, size_t count, bool (*until)(const struct peer *, size_t))
{
    uint64_t moved_ms = now_ms();
    while (!until(peers, count)) {
        bool moved = false;
        for (size_t i = 0; i < count; i++)
            moved = peer_step(&peers[i]) || moved;
        if (moved)
            moved_ms = now_ms();
        else if (now_ms() - moved_ms > PATIENCE_MS)
            return false;
        else
            wait_for(peers, count, 50);
    }
    return true;
}

void drive_until_still(struct peer *peers, size_t count, unsigned ms)
{
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < count; i++)
            moved = peer_step(&peers[i]) || moved;
        moved = moved || wait_for(peers, count, (int)ms);
    }
}

bool all_sent(const struct peer *peers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (wants_to_send(&peers[i]))
            return false;
    return true;
}

bool all_limits(const struct peer *peers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (peers[i].limit != UINT64_MAX && wants_to_read(&peers[i]))
            return false;
    return true;
}

bool all_saw_end(const struct peer *peers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (peers[i].saw == OPEN)
            return false;
    return true;
}

void say(int fd, const char *words)
{
    size_t length = strlen(words);
    NEED(send(fd, words, length, MSG_NOSIGNAL) == (ssize_t)length);
}

bool hears(int fd, const char *words)
{
    char heard[256];
    size_t length = strlen(words), got = 0;
    NEED(length <= sizeof heard);
    while (got < length) {
        ssize_t n = recv(fd, heard + got, length - got, 0);
        if (n <= 0) {
            comment("heard %zu bytes of \"%s\" and then: %s", got, words, n < 0 ? strerror(errno) : "the end");
            return false;
        }
        got += (size_t)n;
    }
    return memcmp(heard, words, length) == 0;
}

enum end hears_end(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    if (n == 0)
        return FIN;
    return n < 0 && errno != EAGAIN ? RESET : OPEN;
}
