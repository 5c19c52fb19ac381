/* relay-test.c - relay.c alone, between real TCP connections: what relay.h and the contract in src/relay/relay.ts promise. */
#include "between.h"
#include "peers.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    MIB = 1024 * 1024,
    SMALL_BUFFERS = 64 * 1024,
    UPPER_MS = 15000,   /* no machine is so busy */
    STILL_MS = 100
};

#define BOTH_WAYS(test_name)                                                 \
    static void test_name##_client(void) { test_name(CLIENT, UPSTREAM); }    \
    static void test_name##_upstream(void) { test_name(UPSTREAM, CLIENT); }

static enum relay_cause reset_of(enum side side)
{
    return side == CLIENT ? RELAY_CLIENT_RESET : RELAY_UPSTREAM_RESET;
}

static enum relay_cause fin_of(enum side side)
{
    return side == CLIENT ? RELAY_CLIENT_FIN : RELAY_UPSTREAM_FIN;
}

/* Both peers of a tunnel. What each sends is what the other expects. */
static void peers_of(const struct tunnel *tunnel, struct peer peers[2])
{
    peers[CLIENT] = peer(tunnel->peer[CLIENT], 0, 1000);
    peers[UPSTREAM] = peer(tunnel->peer[UPSTREAM], 1000, 0);
}

/* ---- Bytes ---- */

static void both_directions(int family)
{
    struct relay *relay = start(2);
    struct tunnel tunnel;
    struct peer peers[2];
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ .family = family });
    peers_of(&tunnel, peers);
    peers[CLIENT].to_send = 24 * MIB + 7;
    peers[UPSTREAM].to_send = 16 * MIB + 13;
    peers[CLIENT].ends = peers[UPSTREAM].ends = true;
    CHECK(drive(peers, 2, all_saw_end));
    CHECK(peers[CLIENT].saw == FIN && peers[UPSTREAM].saw == FIN);
    CHECK(!peers[CLIENT].differs && !peers[UPSTREAM].differs);
    CHECK(peers[CLIENT].received == peers[UPSTREAM].sent && peers[UPSTREAM].received == peers[CLIENT].sent);
    tunnel_close(&tunnel);
    CHECK(tunnel.cause == RELAY_CLIENT_FIN || tunnel.cause == RELAY_UPSTREAM_FIN);
    CHECK(counted(&tunnel, RELAY_BYTES_UP) == peers[CLIENT].sent);
    CHECK(counted(&tunnel, RELAY_BYTES_DOWN) == peers[UPSTREAM].sent);
    stop(relay);
}

static void both_directions_4(void) { both_directions(AF_INET); }
static void both_directions_6(void) { both_directions(AF_INET6); }

static void bytes_at_hand_over(void)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ .up = "early", .up_bytes = 5, .down = "reply+banner", .down_bytes = 12,
                                                          .down_uncounted = 6 });
    CHECK(counted(&tunnel, RELAY_FIRST_BYTE_NS) != 0);
    say(tunnel.peer[CLIENT], " and later");
    say(tunnel.peer[UPSTREAM], " and more");
    CHECK(hears(tunnel.peer[CLIENT], "reply+banner and more"));
    CHECK(hears(tunnel.peer[UPSTREAM], "early and later"));
    reset(tunnel.peer[CLIENT]);
    tunnel.peer[CLIENT] = -1;
    CHECK(tunnel_ended(&tunnel, RELAY_CLIENT_RESET));
    CHECK(counted(&tunnel, RELAY_BYTES_UP) == 15);
    CHECK(counted(&tunnel, RELAY_BYTES_DOWN) == 15);
    stop(relay);
}

/* More than the kernel takes at once, to a reader that stalls. */
static void much_at_hand_over(void)
{
    enum { BYTES = 8 * MIB };
    struct relay *relay = start(1);
    struct tunnel tunnel;
    struct peer peers[2];
    char *zeros = calloc(1, BYTES), *heard = malloc(BYTES);
    size_t got = 0;
    NEED(zeros && heard);
    for (size_t i = 0; i < BYTES; i += 4)
        memcpy(zeros + i, &(uint32_t){ (uint32_t)i }, 4);
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ .buffer_bytes = SMALL_BUFFERS, .up = zeros, .up_bytes = BYTES });
    peers_of(&tunnel, peers);
    peers[CLIENT].to_send = 5000;
    CHECK(drive(&peers[CLIENT], 1, all_sent));
    sleep_ms(STILL_MS);
    NEED(fcntl(tunnel.peer[UPSTREAM], F_SETFL, 0) == 0);
    while (got < BYTES) {
        ssize_t n = recv(tunnel.peer[UPSTREAM], heard + got, BYTES - got, 0);
        NEED(n > 0);
        got += (size_t)n;
    }
    CHECK(memcmp(zeros, heard, BYTES) == 0);
    non_blocking(tunnel.peer[UPSTREAM]);
    peers[UPSTREAM].limit = 5000;
    CHECK(drive(&peers[UPSTREAM], 1, all_limits));
    CHECK(!peers[UPSTREAM].differs);
    CHECK(counted(&tunnel, RELAY_BYTES_UP) == BYTES + 5000);
    relay_abort(relay, tunnel.handle);
    CHECK(tunnel_ended(&tunnel, RELAY_ABORTED));
    free(zeros);
    free(heard);
    stop(relay);
}

static void reply_alone(void)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ .down = "reply", .down_bytes = 5, .down_uncounted = 5 });
    CHECK(hears(tunnel.peer[CLIENT], "reply"));
    CHECK(counted(&tunnel, RELAY_BYTES_DOWN) == 0);
    CHECK(counted(&tunnel, RELAY_FIRST_BYTE_NS) == 0);
    uint64_t before_ms = now_ms();
    say(tunnel.peer[UPSTREAM], "first");
    CHECK(hears(tunnel.peer[CLIENT], "first"));
    uint64_t first_ns = counted(&tunnel, RELAY_FIRST_BYTE_NS);
    CHECK(first_ns / 1000000 >= before_ms && first_ns / 1000000 <= now_ms());
    say(tunnel.peer[UPSTREAM], "second");
    CHECK(hears(tunnel.peer[CLIENT], "second"));
    CHECK(counted(&tunnel, RELAY_FIRST_BYTE_NS) == first_ns);
    relay_abort(relay, tunnel.handle);
    CHECK(tunnel_ended(&tunnel, RELAY_ABORTED));
    stop(relay);
}

static void say_and_end(struct tunnel *tunnel)
{
    say(tunnel->peer[CLIENT], "all there is");
    NEED(shutdown(tunnel->peer[CLIENT], SHUT_WR) == 0);
}

static void bytes_and_end_before(void)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ .before = say_and_end });
    CHECK(hears(tunnel.peer[UPSTREAM], "all there is"));
    CHECK(hears_end(tunnel.peer[UPSTREAM]) == FIN);
    say(tunnel.peer[UPSTREAM], "the answer");
    CHECK(hears(tunnel.peer[CLIENT], "the answer"));
    NEED(shutdown(tunnel.peer[UPSTREAM], SHUT_WR) == 0);
    CHECK(hears_end(tunnel.peer[CLIENT]) == FIN);
    CHECK(tunnel_ended(&tunnel, RELAY_CLIENT_FIN));
    stop(relay);
}

static void urgent(enum side one, enum side other)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ 0 });
    for (int i = 0; i < 20; i++) {
        say(tunnel.peer[one], "before ");
        NEED(send(tunnel.peer[one], "!", 1, MSG_OOB) == 1);
        say(tunnel.peer[one], " behind");
        CHECK(hears(tunnel.peer[other], "before ! behind"));
    }
    relay_abort(relay, tunnel.handle);
    CHECK(tunnel_ended(&tunnel, RELAY_ABORTED));
    stop(relay);
}
BOTH_WAYS(urgent)

/* splice(2) does not get over an urgent byte: it says that there is nothing, and at the end of file that this is it. */
static void urgent_in_bulk(enum side one, enum side other)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    struct peer peers[2];
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ 0 });
    peers_of(&tunnel, peers);
    for (int i = 0; i < 8; i++) {
        peers[one].to_send += 4 * MIB;
        CHECK(drive(peers, 2, all_sent));
        while (!peer_sends_urgent(&peers[one]))
            peer_step(&peers[other]);
    }
    peers[one].to_send += 3 * MIB;
    peers[one].ends = true;
    peers[other].ends = true;
    CHECK(drive(peers, 2, all_saw_end));
    CHECK(peers[other].saw == FIN);
    CHECK(!peers[other].differs);
    CHECK(peers[other].received == peers[one].sent);
    tunnel_close(&tunnel);
    stop(relay);
}
BOTH_WAYS(urgent_in_bulk)

/* ---- Ends in order ---- */

static void half_close(enum side one, enum side other)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    struct peer peers[2];
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ 0 });
    say(tunnel.peer[one], "question");
    NEED(shutdown(tunnel.peer[one], SHUT_WR) == 0);
    CHECK(hears(tunnel.peer[other], "question"));
    CHECK(hears_end(tunnel.peer[other]) == FIN);
    peers_of(&tunnel, peers);
    peers[other].to_send = 8 * MIB;
    peers[other].ends = true;
    peers[other].saw = FIN;
    CHECK(drive(peers, 2, all_saw_end));
    CHECK(peers[one].saw == FIN && !peers[one].differs && peers[one].received == 8 * MIB);
    CHECK(tunnel_ended(&tunnel, fin_of(one)));
    stop(relay);
}
BOTH_WAYS(half_close)

/* The sender has ended long before its reader begins. */
static void end_behind_a_stall(enum side one, enum side other)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    struct peer peers[2];
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ .buffer_bytes = SMALL_BUFFERS });
    peers_of(&tunnel, peers);
    peers[one].to_send = MIB + 100000;
    peers[one].ends = true;
    peers[other].limit = 0;
    drive_until_still(peers, 2, STILL_MS);
    peers[other].limit = UINT64_MAX;
    peers[other].ends = true;
    CHECK(drive(peers, 2, all_saw_end));
    CHECK(peers[other].saw == FIN && !peers[other].differs && peers[other].received == peers[one].to_send);
    tunnel_close(&tunnel);
    CHECK(tunnel.cause == fin_of(one) || tunnel.cause == fin_of(other));
    stop(relay);
}
BOTH_WAYS(end_behind_a_stall)

/* ---- Resets ---- */

static void reset_passes(enum side one, enum side other)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ 0 });
    say(tunnel.peer[one], "last words");
    reset(tunnel.peer[one]);
    tunnel.peer[one] = -1;
    CHECK(hears(tunnel.peer[other], "last words"));
    CHECK(hears_end(tunnel.peer[other]) == RESET);
    CHECK(tunnel_ended(&tunnel, reset_of(one)));
    stop(relay);
}
BOTH_WAYS(reset_passes)

/* `noisy`: the other has something to say, so that the relay meets the reset by writing as well. */
static void reset_behind_a_stall(enum side one, enum side other, bool noisy, int buffer_bytes)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    struct peer peers[2];
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ .buffer_bytes = buffer_bytes });
    peers_of(&tunnel, peers);
    peers[one].to_send = 64 * (uint64_t)MIB;
    peers[one].limit = peers[other].limit = 0;
    if (noisy)
        peers[other].to_send = 64 * (uint64_t)MIB;
    drive_until_still(peers, 2, STILL_MS);
    uint64_t accepted = peers[one].sent - unacknowledged(tunnel.peer[one]);
    reset(tunnel.peer[one]);
    tunnel.peer[one] = -1;
    peers[other].limit = accepted / 2;
    CHECK(drive(&peers[other], 1, all_limits));
    sleep_ms(STILL_MS);
    peers[other].limit = UINT64_MAX;
    CHECK(drive(&peers[other], 1, all_saw_end));
    CHECK(peers[other].saw == RESET);
    CHECK(!peers[other].differs);
    comment("%llu of %llu bytes accepted arrived", (unsigned long long)peers[other].received, (unsigned long long)accepted);
    CHECK(peers[other].received >= accepted);
    CHECK(tunnel_ended(&tunnel, reset_of(one)));
    stop(relay);
}

static void reset_stall_quiet(enum side one, enum side other) { reset_behind_a_stall(one, other, false, SMALL_BUFFERS); }
static void reset_stall_noisy(enum side one, enum side other) { reset_behind_a_stall(one, other, true, SMALL_BUFFERS); }
static void reset_stall_large(enum side one, enum side other) { reset_behind_a_stall(one, other, false, 0); }
BOTH_WAYS(reset_stall_quiet)
BOTH_WAYS(reset_stall_noisy)
BOTH_WAYS(reset_stall_large)

static void reset_after_own_end(enum side one, enum side other)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ 0 });
    say(tunnel.peer[one], "question");
    NEED(shutdown(tunnel.peer[one], SHUT_WR) == 0);
    CHECK(hears(tunnel.peer[other], "question"));
    CHECK(hears_end(tunnel.peer[other]) == FIN);
    reset(tunnel.peer[one]);
    tunnel.peer[one] = -1;
    CHECK(tunnel_ends(&tunnel));
    CHECK(send(tunnel.peer[other], "answer", 6, MSG_NOSIGNAL) < 0 && (errno == EPIPE || errno == ECONNRESET));
    CHECK(tunnel_ended(&tunnel, reset_of(one)));
    stop(relay);
}
BOTH_WAYS(reset_after_own_end)

static void reset_after_the_others_end(enum side one, enum side other)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ 0 });
    NEED(shutdown(tunnel.peer[other], SHUT_WR) == 0);
    CHECK(hears_end(tunnel.peer[one]) == FIN);
    say(tunnel.peer[one], "half an answer");
    reset(tunnel.peer[one]);
    tunnel.peer[one] = -1;
    CHECK(hears(tunnel.peer[other], "half an answer"));
    CHECK(hears_end(tunnel.peer[other]) == RESET);
    CHECK(tunnel_ended(&tunnel, reset_of(one)));
    stop(relay);
}
BOTH_WAYS(reset_after_the_others_end)

static void both_reset(void)
{
    struct relay *relay = start(1);
    for (int i = 0; i < 50; i++) {
        struct tunnel tunnel;
        tunnel_open(relay, &tunnel, &(struct tunnel_options){ .up = i % 2 ? "up" : NULL, .up_bytes = i % 2 ? 2 : 0 });
        say(tunnel.peer[i % 2], "words");
        reset(tunnel.peer[CLIENT]);
        reset(tunnel.peer[UPSTREAM]);
        tunnel.peer[CLIENT] = tunnel.peer[UPSTREAM] = -1;
        tunnel_close(&tunnel);
        CHECK(tunnel.cause == RELAY_CLIENT_RESET || tunnel.cause == RELAY_UPSTREAM_RESET);
    }
    stop(relay);
}

static void say_and_reset(struct tunnel *tunnel)
{
    say(tunnel->peer[UPSTREAM], "last words");
    reset(tunnel->peer[UPSTREAM]);
    tunnel->peer[UPSTREAM] = -1;
}

static void say_and_reset_noticed(struct tunnel *tunnel)
{
    int error = 0;
    socklen_t length = sizeof error;
    say_and_reset(tunnel);
    while (error == 0)
        NEED(getsockopt(tunnel->inner[UPSTREAM], SOL_SOCKET, SO_ERROR, &error, &length) == 0);
}

static void reset_before(void (*before)(struct tunnel *))
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ .before = before, .down = "reply, ", .down_bytes = 7, .down_uncounted = 7 });
    CHECK(hears(tunnel.peer[CLIENT], "reply, last words"));
    CHECK(hears_end(tunnel.peer[CLIENT]) == RESET);
    CHECK(tunnel_ended(&tunnel, RELAY_UPSTREAM_RESET));
    stop(relay);
}

static void reset_before_unnoticed(void) { reset_before(say_and_reset); }
static void reset_before_noticed(void) { reset_before(say_and_reset_noticed); }

/* The tunnel whose peer the hook resets. */
static struct tunnel *hooked;

static void reset_client_now(void)
{
    struct tcp_info info = { .tcpi_state = TCP_ESTABLISHED };
    reset(hooked->peer[CLIENT]);
    hooked->peer[CLIENT] = -1;
    while (info.tcpi_state != TCP_CLOSE) {
        socklen_t length = sizeof info;
        NEED(getsockopt(hooked->inner[CLIENT], IPPROTO_TCP, TCP_INFO, &info, &length) == 0);
    }
}

/* Only a write tells of the reset: the side has ended, and its descriptor is closed before epoll could say so. */
static void reset_met_by_writing(void)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ 0 });
    hooked = &tunnel;
    NEED(shutdown(tunnel.peer[CLIENT], SHUT_WR) == 0);
    CHECK(hears_end(tunnel.peer[UPSTREAM]) == FIN);
    between(RECV, tunnel.inner[UPSTREAM], reset_client_now);
    say(tunnel.peer[UPSTREAM], "answer");
    CHECK(tunnel_ended(&tunnel, RELAY_CLIENT_RESET));
    stop(relay);
}

static void reset_met_by_ending(void)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ 0 });
    hooked = &tunnel;
    NEED(shutdown(tunnel.peer[CLIENT], SHUT_WR) == 0);
    CHECK(hears_end(tunnel.peer[UPSTREAM]) == FIN);
    between(SHUTDOWN, tunnel.inner[CLIENT], reset_client_now);
    NEED(shutdown(tunnel.peer[UPSTREAM], SHUT_WR) == 0);
    CHECK(tunnel_ended(&tunnel, RELAY_CLIENT_RESET));
    stop(relay);
}

/* ---- Time ---- */

static void times_out(const struct tunnel_options *options, bool half, enum relay_cause cause, uint64_t limit_ms)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    uint64_t since_ms = now_ms();
    tunnel_open(relay, &tunnel, options);
    if (half) {
        say(tunnel.peer[CLIENT], "question");
        CHECK(hears(tunnel.peer[UPSTREAM], "question"));
        since_ms = now_ms();
        NEED(shutdown(tunnel.peer[CLIENT], SHUT_WR) == 0);
        CHECK(hears_end(tunnel.peer[UPSTREAM]) == FIN);
    }
    CHECK(tunnel_ends(&tunnel));
    CHECK(tunnel.ended_ms - since_ms >= limit_ms);
    CHECK(tunnel.ended_ms - since_ms < limit_ms + UPPER_MS);
    CHECK(hears_end(tunnel.peer[CLIENT]) == RESET);
    if (!half)
        CHECK(hears_end(tunnel.peer[UPSTREAM]) == RESET);
    else
        CHECK(send(tunnel.peer[UPSTREAM], "answer", 6, MSG_NOSIGNAL) < 0);
    CHECK(tunnel_ended(&tunnel, cause));
    stop(relay);
}

static void idle(void) { times_out(&(struct tunnel_options){ .idle_ms = 60 }, false, RELAY_IDLE_TIMEOUT, 60); }

static void idle_half(void)
{
    times_out(&(struct tunnel_options){ .idle_ms = 80, .half_close_ms = 20000 }, true, RELAY_IDLE_TIMEOUT, 80);
}

static void half_closed(void)
{
    times_out(&(struct tunnel_options){ .idle_ms = 20000, .half_close_ms = 80 }, true, RELAY_HALF_CLOSE_TIMEOUT, 80);
}

static void half_closed_without_idle(void)
{
    times_out(&(struct tunnel_options){ .half_close_ms = 50 }, true, RELAY_HALF_CLOSE_TIMEOUT, 50);
}

static void traffic_postpones(enum side one, enum side other)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    uint64_t since_ms = 0;
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ .idle_ms = 1500 });
    for (int i = 0; i < 8; i++) {
        sleep_ms(240);
        since_ms = now_ms();
        say(tunnel.peer[one], "tick");
        CHECK(hears(tunnel.peer[other], "tick"));
    }
    CHECK(tunnel_ends(&tunnel));
    CHECK(tunnel.ended_ms - since_ms >= 1500);
    CHECK(tunnel_ended(&tunnel, RELAY_IDLE_TIMEOUT));
    stop(relay);
}
BOTH_WAYS(traffic_postpones)

/* A side has reset, the other never reads what came before: the same limits, and the reset is the cause. */
static void stall_behind_a_reset(void)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    struct peer peers[2];
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ .buffer_bytes = SMALL_BUFFERS, .half_close_ms = 100 });
    peers_of(&tunnel, peers);
    peers[CLIENT].to_send = 64 * (uint64_t)MIB;
    peers[UPSTREAM].limit = 0;
    drive_until_still(peers, 2, STILL_MS);
    uint64_t since_ms = now_ms();
    reset(tunnel.peer[CLIENT]);
    tunnel.peer[CLIENT] = -1;
    CHECK(tunnel_ends(&tunnel));
    CHECK(tunnel.ended_ms - since_ms >= 100 && tunnel.ended_ms - since_ms < 100 + UPPER_MS);
    CHECK(tunnel_ended(&tunnel, RELAY_CLIENT_RESET));
    stop(relay);
}

static void for_ever(void)
{
    struct relay *relay = start(1);
    struct tunnel silent, half;
    tunnel_open(relay, &silent, &(struct tunnel_options){ 0 });
    tunnel_open(relay, &half, &(struct tunnel_options){ 0 });
    NEED(shutdown(half.peer[UPSTREAM], SHUT_WR) == 0);
    CHECK(hears_end(half.peer[CLIENT]) == FIN);
    sleep_ms(300);
    CHECK(atomic_load(&silent.ended) == 0 && atomic_load(&half.ended) == 0);
    say(silent.peer[CLIENT], "still here");
    CHECK(hears(silent.peer[UPSTREAM], "still here"));
    say(half.peer[CLIENT], "still here");
    CHECK(hears(half.peer[UPSTREAM], "still here"));
    NEED(shutdown(half.peer[CLIENT], SHUT_WR) == 0);
    CHECK(tunnel_ended(&half, RELAY_UPSTREAM_FIN));
    relay_abort(relay, silent.handle);
    CHECK(tunnel_ended(&silent, RELAY_ABORTED));
    stop(relay);
}

/* Many timers at once, in the order of neither their making nor their limits, while tunnels without limit and others end between. */
static void each_at_its_time(void)
{
    enum { COUNT = 60 };
    struct relay *relay = start(1);
    struct tunnel tunnels[COUNT];
    uint64_t since_ms[COUNT], limit_ms[COUNT];
    for (int i = 0; i < COUNT; i++) {
        limit_ms[i] = i % 5 == 0 ? 0 : (uint64_t)(50 + i * 37 % 200);
        since_ms[i] = now_ms();
        tunnel_open(relay, &tunnels[i], &(struct tunnel_options){ .idle_ms = limit_ms[i] });
    }
    for (int i = 0; i < COUNT; i += 10) {
        relay_abort(relay, tunnels[i].handle);
        CHECK(tunnel_ended(&tunnels[i], RELAY_ABORTED));
    }
    for (int i = 0; i < COUNT; i++) {
        if (i % 5 == 0)
            continue;
        CHECK(tunnel_ends(&tunnels[i]));
        CHECK(tunnels[i].ended_ms - since_ms[i] >= limit_ms[i]);
        CHECK(tunnel_ended(&tunnels[i], RELAY_IDLE_TIMEOUT));
    }
    for (int i = 5; i < COUNT; i += 10) {
        CHECK(atomic_load(&tunnels[i].ended) == 0);
        relay_abort(relay, tunnels[i].handle);
        CHECK(tunnel_ended(&tunnels[i], RELAY_ABORTED));
    }
    stop(relay);
}

static void user_timeout(void)
{
    struct relay *relay = start(1);
    struct tunnel with, without;
    tunnel_open(relay, &with, &(struct tunnel_options){ .user_timeout_ms = 12345 });
    tunnel_open(relay, &without, &(struct tunnel_options){ 0 });
    for (enum side side = CLIENT; side <= UPSTREAM; side++) {
        unsigned value = 1;
        socklen_t length = sizeof value;
        NEED(getsockopt(with.inner[side], IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &length) == 0);
        CHECK(value == 12345);
        NEED(getsockopt(without.inner[side], IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &length) == 0);
        CHECK(value == 0);
    }
    relay_abort(relay, with.handle);
    relay_abort(relay, without.handle);
    CHECK(tunnel_ended(&with, RELAY_ABORTED));
    CHECK(tunnel_ended(&without, RELAY_ABORTED));
    stop(relay);
}

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;
    NEED(getsockopt(fd, level, name, &value, &length) == 0);
    return value;
}

static void without_nodelay(struct tunnel *tunnel)
{
    for (enum side side = CLIENT; side <= UPSTREAM; side++)
        NEED(setsockopt(tunnel->inner[side], IPPROTO_TCP, TCP_NODELAY, &(int){ 0 }, sizeof(int)) == 0);
}

static void keepalive(void)
{
    struct relay *relay = start(1);
    struct tunnel with, without;
    tunnel_open(relay, &with, &(struct tunnel_options){ .keepalive_s = 77, .before = without_nodelay });
    tunnel_open(relay, &without, &(struct tunnel_options){ .before = without_nodelay });
    for (enum side side = CLIENT; side <= UPSTREAM; side++) {
        CHECK(option_of(with.inner[side], SOL_SOCKET, SO_KEEPALIVE) == 1);
        CHECK(option_of(with.inner[side], IPPROTO_TCP, TCP_KEEPIDLE) == 77);
        CHECK(option_of(with.inner[side], IPPROTO_TCP, TCP_KEEPINTVL) == 10);
        CHECK(option_of(with.inner[side], IPPROTO_TCP, TCP_KEEPCNT) == 10);
        CHECK(option_of(with.inner[side], IPPROTO_TCP, TCP_NODELAY) == 1);
        CHECK(option_of(without.inner[side], SOL_SOCKET, SO_KEEPALIVE) == 0);
        CHECK(option_of(without.inner[side], IPPROTO_TCP, TCP_NODELAY) == 1);
    }
    relay_abort(relay, with.handle);
    relay_abort(relay, without.handle);
    CHECK(tunnel_ended(&with, RELAY_ABORTED));
    CHECK(tunnel_ended(&without, RELAY_ABORTED));
    stop(relay);
}

/* Much room in the relay's kernel, little in the peer's: what is sent is gone as far as the relay can see. */
static void room_in_the_kernel(struct tunnel *tunnel)
{
    NEED(setsockopt(tunnel->inner[UPSTREAM], SOL_SOCKET, SO_SNDBUF, &(int){ 1024 * 1024 }, sizeof(int)) == 0);
}

static void slow_reader(void)
{
    enum { LIMIT_MS = 1500, STEPS = 8 };
    struct relay *relay = start(1);
    struct tunnel tunnel;
    struct peer peers[2];
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ .buffer_bytes = 8192, .before = room_in_the_kernel, .idle_ms = LIMIT_MS });
    peers_of(&tunnel, peers);
    peers[CLIENT].to_send = 150000;
    peers[UPSTREAM].limit = 0;
    CHECK(drive(peers, 2, all_sent));
    while (counted(&tunnel, RELAY_BYTES_UP) < 150000)
        sleep_ms(1);
    uint64_t since_ms = now_ms();
    for (int i = 0; i < STEPS; i++) {
        sleep_ms(LIMIT_MS / 6);
        peers[UPSTREAM].limit += 7000;
        peer_step(&peers[UPSTREAM]);
    }
    comment("%llu bytes were read in %llu ms", (unsigned long long)peers[UPSTREAM].received, (unsigned long long)(now_ms() - since_ms));
    CHECK(unacknowledged(tunnel.inner[UPSTREAM]) > 0);
    CHECK(atomic_load(&tunnel.ended) == 0);
    since_ms = now_ms();
    CHECK(tunnel_ends(&tunnel));
    CHECK(tunnel.ended_ms - since_ms < LIMIT_MS + UPPER_MS);
    CHECK(tunnel_ended(&tunnel, RELAY_IDLE_TIMEOUT));
    stop(relay);
}

/* The reset waits for the reader; how often the thread looks is a matter of time, not of what else happens. */
static void noise_behind_a_reset(void)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    struct peer peers[2];
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ .buffer_bytes = 8192, .before = room_in_the_kernel });
    peers_of(&tunnel, peers);
    peers[CLIENT].to_send = 100000;
    peers[UPSTREAM].limit = 0;
    CHECK(drive(peers, 2, all_sent));
    while (counted(&tunnel, RELAY_BYTES_UP) < 100000)
        sleep_ms(1);
    uint64_t reset_ms = now_ms();
    reset(tunnel.peer[CLIENT]);
    tunnel.peer[CLIENT] = -1;
    for (int i = 0; i < 30; i++) {
        say(tunnel.peer[UPSTREAM], "?");
        sleep_ms(1);
    }
    peers[UPSTREAM].limit = 100000;
    CHECK(drive(&peers[UPSTREAM], 1, all_limits));
    uint64_t since_ms = now_ms();
    peers[UPSTREAM].limit = UINT64_MAX;
    CHECK(drive(&peers[UPSTREAM], 1, all_saw_end));
    comment("the reset came %llu ms behind the last byte", (unsigned long long)(now_ms() - since_ms));
    /* Each wait is twice as long as the one before, and so as long as all of those; counted in noise, it would be 500 ms by now. */
    CHECK(peers[UPSTREAM].saw == RESET && now_ms() - since_ms < 300 + (since_ms - reset_ms));
    CHECK(tunnel_ended(&tunnel, RELAY_CLIENT_RESET));
    stop(relay);
}

/* ---- Hand-over ---- */

/* The thread is asleep, and would sleep for long. */
static struct relay *with_a_thread_asleep(struct tunnel *first)
{
    unsigned before = sleeps();
    struct relay *relay = start(1);
    while (sleeps() < before + 1)
        sleep_ms(1);
    tunnel_open(relay, first, &(struct tunnel_options){ .idle_ms = 600000 });
    while (sleeps() < before + 2)
        sleep_ms(1);
    return relay;
}

static void quiet_hand_over(void)
{
    enum { COUNT = 50 };
    struct tunnel first, tunnels[COUNT];
    struct relay *relay = with_a_thread_asleep(&first);
    unsigned before = sleeps();
    for (int i = 0; i < COUNT; i++) {
        tunnel_open(relay, &tunnels[i], &(struct tunnel_options){
            .up = "early", .up_bytes = 5, .down = "reply", .down_bytes = 5, .down_uncounted = 5, .idle_ms = i % 2 ? 600000 : 0 });
        CHECK(hears(tunnels[i].peer[CLIENT], "reply"));
        CHECK(hears(tunnels[i].peer[UPSTREAM], "early"));
        CHECK(counted(&tunnels[i], RELAY_BYTES_UP) == 5 && counted(&tunnels[i], RELAY_BYTES_DOWN) == 0);
    }
    CHECK(sleeps() == before);
    for (int i = 0; i < COUNT; i++) {
        if (i % 3 == 0) {
            say(tunnels[i].peer[CLIENT], "words");
            CHECK(hears(tunnels[i].peer[UPSTREAM], "words"));
        }
        relay_abort(relay, tunnels[i].handle);
        CHECK(tunnel_ended(&tunnels[i], RELAY_ABORTED));
    }
    relay_abort(relay, first.handle);
    CHECK(tunnel_ended(&first, RELAY_ABORTED));
    stop(relay);
}

static void short_limit_behind_a_long_one(void)
{
    struct tunnel first, next;
    struct relay *relay = with_a_thread_asleep(&first);
    uint64_t since_ms = now_ms();
    tunnel_open(relay, &next, &(struct tunnel_options){ .idle_ms = 60 });
    CHECK(tunnel_ends(&next));
    CHECK(next.ended_ms - since_ms >= 60 && next.ended_ms - since_ms < 60 + UPPER_MS);
    CHECK(tunnel_ended(&next, RELAY_IDLE_TIMEOUT));
    relay_abort(relay, first.handle);
    CHECK(tunnel_ended(&first, RELAY_ABORTED));
    stop(relay);
}

static void wait_a_little(void)
{
    sleep_ms(20);
}

static void reset_both(struct tunnel *tunnel)
{
    between(WATCHED, tunnel->inner[CLIENT], wait_a_little);
    for (enum side side = CLIENT; side <= UPSTREAM; side++) {
        reset(tunnel->peer[side]);
        tunnel->peer[side] = -1;
    }
}

/* Its first socket has an event while its second is not watched yet, and the tunnel is over at once. */
static void events_before_the_end_of_hand_over(void)
{
    struct relay *relay = start(1);
    for (int i = 0; i < 10; i++) {
        struct tunnel tunnel;
        tunnel_open(relay, &tunnel, &(struct tunnel_options){ .before = reset_both, .down = "reply", .down_bytes = 5, .up = "early", .up_bytes = 5 });
        tunnel_close(&tunnel);
        CHECK(tunnel.cause == RELAY_CLIENT_RESET || tunnel.cause == RELAY_UPSTREAM_RESET);
    }
    stop(relay);
}

/* A tunnel that is aborted may have ended by itself, and its owner may free it at once: nothing may point to it then. */
static void abort_while_ending(void)
{
    enum { COUNT = 20 };
    struct relay *relay = start(2);
    for (int round = 0; round < 30; round++) {
        struct tunnel tunnels[COUNT];
        for (int i = 0; i < COUNT; i++)
            tunnel_open(relay, &tunnels[i], &(struct tunnel_options){ .idle_ms = i % 2 ? 60000 : 0 });
        for (int i = 0; i < COUNT; i++) {
            if (i % 4 != 3) {
                reset(tunnels[i].peer[i % 2]);
                tunnels[i].peer[i % 2] = -1;
            }
            relay_abort(relay, tunnels[i].handle);
            if (i % 5 == 0)
                tunnel_close(&tunnels[i]);
        }
        for (int i = 0; i < COUNT; i++) {
            if (i % 5 != 0)
                tunnel_close(&tunnels[i]);
            CHECK(tunnels[i].cause == RELAY_ABORTED || (i % 4 != 3 && tunnels[i].cause == (i % 2 ? RELAY_UPSTREAM_RESET : RELAY_CLIENT_RESET)));
        }
    }
    stop(relay);
}

/* ---- Abort and stop ---- */

static void abort_at_once(void)
{
    struct relay *relay = start(2);
    for (int i = 0; i < 200; i++) {
        struct tunnel tunnel;
        tunnel_open(relay, &tunnel, &(struct tunnel_options){ .up = "early", .up_bytes = 5 });
        relay_abort(relay, tunnel.handle);
        relay_abort(relay, tunnel.handle);
        CHECK(tunnel_ends(&tunnel));
        relay_abort(relay, tunnel.handle);
        CHECK(hears_end(tunnel.peer[CLIENT]) == RESET);
        CHECK(tunnel_ended(&tunnel, RELAY_ABORTED));
    }
    stop(relay);
}

/* What the hooks below wait for and tell. */
static atomic_bool reached, go_on;

static void wait_to_go_on(void)
{
    atomic_store(&reached, true);
    while (!atomic_load(&go_on))
        sleep_ms(1);
}

static void let_go_on(void)
{
    atomic_store(&go_on, true);
}

/* The thread has taken the tunnels that were added, and has not looked for aborts yet. */
static struct relay *with_a_thread_between(struct tunnel *first, struct tunnel *second)
{
    struct relay *relay = start(1);
    atomic_store(&reached, false);
    atomic_store(&go_on, false);
    between(MUTEX_UNLOCKED, -1, wait_to_go_on);
    tunnel_open(relay, first, &(struct tunnel_options){ .idle_ms = 60000 }); /* its limit is what the thread is woken for */
    while (!atomic_load(&reached))
        sleep_ms(1);
    tunnel_open(relay, second, &(struct tunnel_options){ 0 });
    return relay;
}

static void abort_while_others_are_taken(void)
{
    struct tunnel first, second;
    struct relay *relay = with_a_thread_between(&first, &second);
    relay_abort(relay, second.handle);
    let_go_on();
    CHECK(tunnel_ended(&second, RELAY_ABORTED));
    say(first.peer[CLIENT], "still here");
    CHECK(hears(first.peer[UPSTREAM], "still here"));
    relay_abort(relay, first.handle);
    CHECK(tunnel_ended(&first, RELAY_ABORTED));
    stop(relay);
}

static void stop_while_others_are_taken(void)
{
    struct tunnel first, second;
    struct relay *relay = with_a_thread_between(&first, &second);
    between(JOIN, -1, let_go_on);
    stop(relay);
    CHECK(tunnel_ended(&first, RELAY_ABORTED));
    CHECK(tunnel_ended(&second, RELAY_ABORTED));
}

static void abort_in_mid_transfer(void)
{
    struct relay *relay = start(2);
    for (int i = 0; i < 20; i++) {
        struct tunnel tunnel;
        struct peer peers[2];
        tunnel_open(relay, &tunnel, &(struct tunnel_options){ .buffer_bytes = i % 2 ? SMALL_BUFFERS : 0 });
        peers_of(&tunnel, peers);
        peers[CLIENT].to_send = peers[UPSTREAM].to_send = UINT64_MAX;
        peers[UPSTREAM].limit = 2 * MIB;
        CHECK(drive(peers, 2, all_limits));
        relay_abort(relay, tunnel.handle);
        peers[UPSTREAM].limit = UINT64_MAX;
        CHECK(drive(peers, 2, all_saw_end));
        CHECK(peers[CLIENT].saw == RESET && peers[UPSTREAM].saw == RESET);
        CHECK(!peers[CLIENT].differs && !peers[UPSTREAM].differs);
        CHECK(tunnel_ended(&tunnel, RELAY_ABORTED));
    }
    stop(relay);
}

/* Also those that wait for a reader behind a reset, and those that have just been added. */
static void stop_with_tunnels(void)
{
    enum { COUNT = 24 };
    struct relay *relay = start(2);
    struct tunnel tunnels[COUNT];
    for (int i = 0; i < COUNT; i++) {
        struct peer peers[2];
        tunnel_open(relay, &tunnels[i], &(struct tunnel_options){ .buffer_bytes = SMALL_BUFFERS, .idle_ms = i % 2 ? 0 : 10000 });
        if (i % 3 == 0)
            continue;
        peers_of(&tunnels[i], peers);
        peers[CLIENT].to_send = 8 * MIB;
        peers[UPSTREAM].limit = 0;
        drive_until_still(peers, 2, 10);
        if (i % 3 == 1) {
            reset(tunnels[i].peer[CLIENT]);
            tunnels[i].peer[CLIENT] = -1;
        }
    }
    relay_stop(relay);
    for (int i = 0; i < COUNT; i++) {
        CHECK(atomic_load(&tunnels[i].ended) == 1);
        tunnel_close(&tunnels[i]);
        CHECK(tunnels[i].cause == RELAY_ABORTED || (i % 3 == 1 && tunnels[i].cause == RELAY_CLIENT_RESET));
    }
}

static void stop_right_after_adding(void)
{
    for (int i = 0; i < 100; i++) {
        struct relay *relay = start(1 + (unsigned)i % 2);
        struct tunnel tunnels[3];
        for (int j = 0; j < 3; j++)
            tunnel_open(relay, &tunnels[j], &(struct tunnel_options){ 0 });
        stop(relay);
        for (int j = 0; j < 3; j++)
            CHECK(tunnel_ended(&tunnels[j], RELAY_ABORTED));
    }
}

/* What a fork(2) of the owner's does for a moment: then close(2) does not end an epoll registration. */
static void duplicate_elsewhere(void)
{
    struct relay *relay = start(1);
    struct tunnel tunnel, next;
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ 0 });
    say(tunnel.peer[CLIENT], "words");
    CHECK(hears(tunnel.peer[UPSTREAM], "words"));
    int duplicate = dup(tunnel.inner[CLIENT]);
    int peer_fd = tunnel.peer[CLIENT];
    tunnel.peer[CLIENT] = -1;
    relay_abort(relay, tunnel.handle);
    CHECK(tunnel_ended(&tunnel, RELAY_ABORTED));
    say(peer_fd, "to whom?");
    tunnel_open(relay, &next, &(struct tunnel_options){ 0 });
    say(next.peer[CLIENT], "words");
    CHECK(hears(next.peer[UPSTREAM], "words"));
    close(duplicate);
    close(peer_fd);
    relay_abort(relay, next.handle);
    CHECK(tunnel_ended(&next, RELAY_ABORTED));
    stop(relay);
}

/* ---- Counters ---- */

static void *watch_counters(void *argument)
{
    struct tunnel *tunnel = argument;
    uint64_t before[3] = { 0 }, reads = 0;
    bool grew = true;
    while (atomic_load(&tunnel->ended) == 0) {
        for (int which = 0; which < 3; which++) {
            uint64_t now = counted(tunnel, which);
            grew = grew && now >= before[which];
            before[which] = now;
        }
        reads++;
    }
    comment("read %llu times", (unsigned long long)reads);
    return grew ? tunnel : NULL;
}

static void counters_grow(void)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    struct peer peers[2];
    pthread_t watcher;
    void *grew = NULL;
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ 0 });
    NEED(pthread_create(&watcher, NULL, watch_counters, &tunnel) == 0);
    peers_of(&tunnel, peers);
    peers[CLIENT].to_send = peers[UPSTREAM].to_send = 16 * MIB;
    CHECK(drive(peers, 2, all_sent));
    peers[CLIENT].ends = peers[UPSTREAM].ends = true;
    CHECK(drive(peers, 2, all_saw_end));
    CHECK(tunnel_ends(&tunnel));
    NEED(pthread_join(watcher, &grew) == 0);
    CHECK(grew != NULL);
    CHECK(counted(&tunnel, RELAY_BYTES_UP) == 16 * MIB && counted(&tunnel, RELAY_BYTES_DOWN) == 16 * MIB);
    tunnel_close(&tunnel);
    stop(relay);
}

/* A TLS record: its type, its length, and what is to be said of the client once it is complete. */
struct record {
    unsigned char type;
    unsigned length;
    uint64_t handshake_only;
};

static void send_counted(struct tunnel *tunnel, const unsigned char *bytes, size_t count)
{
    uint64_t before = counted(tunnel, RELAY_BYTES_UP);
    char heard[512];
    NEED(count <= sizeof heard && send(tunnel->peer[CLIENT], bytes, count, MSG_NOSIGNAL) == (ssize_t)count);
    NEED(recv(tunnel->peer[UPSTREAM], heard, count, MSG_WAITALL) == (ssize_t)count);
    CHECK(counted(tunnel, RELAY_BYTES_UP) == before + count);
}

static void handshake(struct relay *relay, const struct record *records, size_t pieces)
{
    struct tunnel tunnel;
    unsigned char bytes[512] = { 0 };
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ 0 });
    CHECK(counted(&tunnel, RELAY_HANDSHAKE_ONLY) == 0);
    for (; records->type; records++) {
        size_t size = 5 + records->length;
        bytes[0] = records->type;
        bytes[1] = 3;
        bytes[2] = 3;
        bytes[3] = (unsigned char)(records->length >> 8);
        bytes[4] = (unsigned char)records->length;
        for (size_t at = 0; at < size; at += pieces) {
            size_t count = size - at < pieces ? size - at : pieces;
            send_counted(&tunnel, bytes + at, count);
            if (at + count < size)
                CHECK(counted(&tunnel, RELAY_HANDSHAKE_ONLY) == 0);
        }
        /* The upstream's having read it means that the relay counted it before. */
        CHECK(counted(&tunnel, RELAY_HANDSHAKE_ONLY) == records->handshake_only);
    }
    relay_abort(relay, tunnel.handle);
    CHECK(tunnel_ended(&tunnel, RELAY_ABORTED));
}

static void handshakes(void)
{
    static const struct record stories[][8] = {
        /* TLS 1.2: hello, key exchange, change, finished; an alert; data */
        { { 22, 200, 0 }, { 22, 60, 0 }, { 20, 1, 0 }, { 22, 40, 1 }, { 21, 26, 1 }, { 23, 90, 0 }, { 21, 26, 0 } },
        /* TLS 1.3: hello, change, finished; an alert; data */
        { { 22, 300, 0 }, { 20, 1, 0 }, { 23, 53, 1 }, { 23, 19, 1 }, { 23, 40, 0 } },
        /* data in a handshake's place, and no TLS at all */
        { { 22, 100, 0 }, { 23, 10, 0 }, { 20, 1, 0 }, { 22, 1, 0 } },
        { { 'G', 20, 0 }, { 22, 20, 0 }, { 20, 1, 0 }, { 22, 40, 0 } },
        /* empty records */
        { { 22, 0, 0 }, { 20, 0, 0 }, { 22, 0, 1 } },
    };
    struct relay *relay = start(1);
    for (size_t story = 0; story < sizeof stories / sizeof stories[0]; story++)
        for (size_t pieces = 1; pieces <= 512; pieces += pieces < 6 ? 1 : 101)
            handshake(relay, stories[story], pieces);
    stop(relay);
}

static void handshake_at_hand_over(void)
{
    static const char hello[] = "\x16\3\3\0\2hi\x14\3\3\0\1!\x16\3", finished[] = "\3\0\1!";
    struct relay *relay = start(1);
    struct tunnel tunnel;
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ .up = hello, .up_bytes = sizeof hello - 1 });
    CHECK(counted(&tunnel, RELAY_HANDSHAKE_ONLY) == 0);
    char heard[sizeof hello];
    NEED(recv(tunnel.peer[UPSTREAM], heard, sizeof hello - 1, MSG_WAITALL) == sizeof hello - 1);
    send_counted(&tunnel, (const unsigned char *)finished, sizeof finished - 1);
    CHECK(counted(&tunnel, RELAY_HANDSHAKE_ONLY) == 1);
    struct peer bulk = peer(tunnel.peer[CLIENT], 0, 0), sink = peer(tunnel.peer[UPSTREAM], 0, 0);
    struct peer peers[2] = { bulk, sink };
    peers[0].to_send = peers[1].limit = 4 * MIB;
    CHECK(drive(peers, 2, all_limits));
    CHECK(counted(&tunnel, RELAY_HANDSHAKE_ONLY) == 0);
    relay_abort(relay, tunnel.handle);
    CHECK(tunnel_ended(&tunnel, RELAY_ABORTED));
    stop(relay);
}

/* ---- Ways ---- */

static void small_is_copied(void)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ 0 });
    for (int i = 0; i < 500; i++) {
        say(tunnel.peer[CLIENT], "sixty-four bytes or so");
        CHECK(hears(tunnel.peer[UPSTREAM], "sixty-four bytes or so"));
        say(tunnel.peer[UPSTREAM], "and back");
        CHECK(hears(tunnel.peer[CLIENT], "and back"));
    }
    struct relay_totals now = totals(relay);
    CHECK(now.spliced_bytes == 0 && now.pipes_pooled == 0);
    CHECK(now.copied_bytes == 500 * 30);
    CHECK(now.fallbacks[RELAY_NO_PIPE_PAGES] + now.fallbacks[RELAY_NO_DESCRIPTORS] + now.fallbacks[RELAY_NO_SPLICE] == 0);
    relay_abort(relay, tunnel.handle);
    CHECK(tunnel_ended(&tunnel, RELAY_ABORTED));
    stop(relay);
}

static void bulk_is_spliced(void)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    struct peer peers[2];
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ 0 });
    peers_of(&tunnel, peers);
    peers[CLIENT].to_send = 64 * MIB;
    peers[CLIENT].ends = peers[UPSTREAM].ends = true;
    CHECK(drive(peers, 2, all_saw_end));
    CHECK(!peers[UPSTREAM].differs);
    tunnel_close(&tunnel);
    struct relay_totals now = totals(relay);
    comment("%llu bytes spliced, %llu copied", (unsigned long long)now.spliced_bytes, (unsigned long long)now.copied_bytes);
    CHECK(now.spliced_bytes + now.copied_bytes == 64 * MIB);
    CHECK(now.spliced_bytes > now.copied_bytes);
    CHECK(now.pipes_in_use == 0 && now.pipes_pooled >= 1 && now.pipes_pooled <= 2);
    stop(relay);
}

static void pool_is_capped(void)
{
    enum { COUNT = 48 };
    struct relay *relay = start(1);
    struct tunnel tunnels[COUNT];
    struct peer peers[2 * COUNT];
    for (int i = 0; i < COUNT; i++) {
        tunnel_open(relay, &tunnels[i], &(struct tunnel_options){ .buffer_bytes = SMALL_BUFFERS });
        peers_of(&tunnels[i], &peers[2 * i]);
        peers[2 * i + CLIENT].to_send = 2 * MIB;
        peers[2 * i + UPSTREAM].limit = 0;
    }
    /* The relay's thread, which is a nice one, may not have run for as long as the peers were still. */
    uint64_t patience_ms = now_ms() + UPPER_MS;
    do
        drive_until_still(peers, 2 * COUNT, STILL_MS);
    while (totals(relay).pipes_in_use <= 32 && now_ms() < patience_ms);
    struct relay_totals now = totals(relay);
    comment("%llu pipes in use", (unsigned long long)now.pipes_in_use);
    CHECK(now.pipes_in_use > 32 && now.pipes_in_use <= COUNT);
    uint64_t since_ms = now_ms();
    for (int i = 0; i < COUNT; i++) {
        peers[2 * i + UPSTREAM].limit = UINT64_MAX;
        peers[2 * i + CLIENT].ends = peers[2 * i + UPSTREAM].ends = true;
    }
    CHECK(drive(peers, 2 * COUNT, all_saw_end));
    for (int i = 0; i < COUNT; i++) {
        CHECK(peers[2 * i + UPSTREAM].received == 2 * MIB && !peers[2 * i + UPSTREAM].differs);
        tunnel_close(&tunnels[i]);
    }
    now = totals(relay);
    CHECK(now.pipes_in_use == 0);
    /* After two seconds the first of them may be closed again. */
    CHECK(now.pipes_pooled == 32 || (now.pipes_pooled < 32 && now_ms() - since_ms >= 2000));
    uint64_t until_ms = now_ms() + UPPER_MS;
    while (totals(relay).pipes_pooled > 0 && now_ms() < until_ms)
        sleep_ms(10);
    CHECK(totals(relay).pipes_pooled == 0);
    stop(relay);
}

/* The bytes of a tunnel that was cut must not turn up in the next that gets its pipe. */
static void pipes_are_clean(void)
{
    struct relay *relay = start(1);
    int with_bytes = 0;
    for (int i = 0; i < 10; i++) {
        struct tunnel cut, next;
        struct peer peers[2];
        tunnel_open(relay, &cut, &(struct tunnel_options){ .buffer_bytes = SMALL_BUFFERS });
        peers_of(&cut, peers);
        peers[CLIENT].to_send = 4 * MIB;
        peers[UPSTREAM].limit = MIB;
        drive_until_still(peers, 2, 20);
        with_bytes += totals(relay).pipes_in_use == 1;
        relay_abort(relay, cut.handle);
        CHECK(tunnel_ended(&cut, RELAY_ABORTED));
        tunnel_open(relay, &next, &(struct tunnel_options){ 0 });
        peers[CLIENT] = peer(next.peer[CLIENT], 7777, 0);
        peers[UPSTREAM] = peer(next.peer[UPSTREAM], 0, 7777);
        peers[CLIENT].to_send = 4 * MIB;
        peers[CLIENT].ends = peers[UPSTREAM].ends = true;
        CHECK(drive(peers, 2, all_saw_end));
        CHECK(peers[UPSTREAM].received == 4 * MIB && !peers[UPSTREAM].differs);
        tunnel_close(&next);
    }
    /* Not each of them: one may have stalled when it was copied. */
    CHECK(with_bytes > 0);
    stop(relay);
}

/* Moves 24 MiB each way through one tunnel, bulk. */
static void bulk(struct relay *relay)
{
    struct tunnel tunnel;
    struct peer peers[2];
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ 0 });
    peers_of(&tunnel, peers);
    peers[CLIENT].to_send = peers[UPSTREAM].to_send = 24 * MIB;
    peers[CLIENT].ends = peers[UPSTREAM].ends = true;
    CHECK(drive(peers, 2, all_saw_end));
    CHECK(peers[UPSTREAM].received == 24 * MIB && !peers[UPSTREAM].differs && peers[UPSTREAM].saw == FIN);
    CHECK(peers[CLIENT].received == 24 * MIB && !peers[CLIENT].differs && peers[CLIENT].saw == FIN);
    tunnel_close(&tunnel);
}

/* In a child process. An ordinary user, whose pages for pipes are used up. */
static void without_pipe_pages(void)
{
    int ends[2], pipes[512][2], count = 0;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    /* Whom nobody else is: the pages are counted by user. */
    uid_t nobody = 100000 + (uid_t)now.tv_nsec;
    /* In a user namespace of its own root is an ordinary user to pipe(7), and has no other to become. */
    if (getuid() == 0 && setresgid(nobody, nobody, nobody) == 0)
        NEED(setresuid(nobody, nobody, nobody) == 0);
    /* For the sanitizers' sake. */
    prctl(PR_SET_DUMPABLE, 1);
    for (;; count++) {
        NEED(count < 512 && pipe2(pipes[count], O_CLOEXEC) == 0);
        if (fcntl(pipes[count][1], F_SETPIPE_SZ, MIB) < 0)
            break;
    }
    NEED(pipe2(ends, O_CLOEXEC) == 0);
    for (int size = MIB; size >= 65536; size /= 2)
        fcntl(ends[1], F_SETPIPE_SZ, size);
    comment("%d pipes of 1 MiB used them up", count);
    struct relay *relay = start(1);
    uint64_t since_ms = now_ms();
    bulk(relay);
    struct relay_totals done = totals(relay);
    comment("%llu bytes spliced, %llu copied", (unsigned long long)done.spliced_bytes, (unsigned long long)done.copied_bytes);
    CHECK(done.spliced_bytes == 0);
    CHECK(done.copied_bytes == 48 * MIB);
    CHECK(done.fallbacks[RELAY_NO_PIPE_PAGES] >= 1);
    CHECK(done.fallbacks[RELAY_NO_PIPE_PAGES] <= (now_ms() - since_ms) / 1000 + 1);
    CHECK(done.fallbacks[RELAY_NO_DESCRIPTORS] == 0);
    /* When pages are to be had again, it splices again. */
    for (int i = 0; i <= count; i++) {
        close(pipes[i][0]);
        close(pipes[i][1]);
    }
    sleep_ms(1100);
    bulk(relay);
    CHECK(totals(relay).spliced_bytes > 0);
    stop(relay);
}

static void without_descriptors(void)
{
    struct relay *relay = start(1);
    struct tunnel tunnel;
    struct peer peers[2];
    struct rlimit limit, none;
    int fillers[1024], count = 0;
    tunnel_open(relay, &tunnel, &(struct tunnel_options){ 0 });
    NEED(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    none = (struct rlimit){ .rlim_cur = 256, .rlim_max = limit.rlim_max };
    NEED(setrlimit(RLIMIT_NOFILE, &none) == 0);
    while ((fillers[count] = dup(STDIN_FILENO)) >= 0)
        NEED(++count < 1024);
    peers_of(&tunnel, peers);
    peers[CLIENT].to_send = 24 * MIB;
    peers[CLIENT].ends = peers[UPSTREAM].ends = true;
    CHECK(drive(peers, 2, all_saw_end));
    CHECK(peers[UPSTREAM].received == 24 * MIB && !peers[UPSTREAM].differs && peers[UPSTREAM].saw == FIN);
    struct relay_totals now = totals(relay);
    CHECK(now.spliced_bytes == 0 && now.copied_bytes == 24 * MIB);
    CHECK(now.fallbacks[RELAY_NO_DESCRIPTORS] >= 1 && now.fallbacks[RELAY_NO_PIPE_PAGES] == 0);
    while (count > 0)
        close(fillers[--count]);
    NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    tunnel_close(&tunnel);
    stop(relay);
}

/* ---- Refusals ---- */

static void refused_to_begin(enum refusal refusal)
{
    struct relay *relay = start(1);
    struct tunnel refused, next;
    refuse(refusal);
    tunnel_open(relay, &refused, &(struct tunnel_options){ .down = "early", .down_bytes = 5, .idle_ms = 60000 });
    CHECK(tunnel_ends(&refused));
    refuse(NOTHING);
    CHECK(hears(refused.peer[CLIENT], "early"));
    CHECK(hears_end(refused.peer[CLIENT]) == RESET);
    CHECK(hears_end(refused.peer[UPSTREAM]) == RESET);
    CHECK(tunnel_ended(&refused, RELAY_ABORTED));
    tunnel_open(relay, &next, &(struct tunnel_options){ 0 });
    say(next.peer[CLIENT], "words");
    CHECK(hears(next.peer[UPSTREAM], "words"));
    relay_abort(relay, next.handle);
    CHECK(tunnel_ended(&next, RELAY_ABORTED));
    stop(relay);
}

static void without_memory_for_a_timer(void) { refused_to_begin(MEMORY); }
static void without_watches(void) { refused_to_begin(WATCHES); }
static void without_a_second_watch(void) { refused_to_begin(SECOND_WATCH); }

static void without_memory_to_hold(void)
{
    struct relay *relay = start(1);
    struct tunnel stalled, other;
    struct peer peers[2];
    /* With buffers that small nothing is bulk. */
    tunnel_open(relay, &stalled, &(struct tunnel_options){ .buffer_bytes = 4096 });
    tunnel_open(relay, &other, &(struct tunnel_options){ 0 });
    peers_of(&stalled, peers);
    peers[CLIENT].to_send = MIB;
    peers[UPSTREAM].limit = 0;
    say(other.peer[CLIENT], "words");
    CHECK(hears(other.peer[UPSTREAM], "words"));
    refuse(MEMORY);
    drive_until_still(peers, 2, STILL_MS);
    CHECK(tunnel_ends(&stalled));
    refuse(NOTHING);
    CHECK(tunnel_ended(&stalled, RELAY_ABORTED));
    say(other.peer[UPSTREAM], "still here");
    CHECK(hears(other.peer[CLIENT], "still here"));
    relay_abort(relay, other.handle);
    CHECK(tunnel_ended(&other, RELAY_ABORTED));
    stop(relay);
}

/* ---- Fairness and rest ---- */

static uint64_t fair_until_ms;

static bool time_is_up(const struct peer *peers, size_t count)
{
    (void)peers;
    (void)count;
    return now_ms() >= fair_until_ms;
}

static void fair(void)
{
    enum { COUNT = 100 };
    struct relay *relay = start(1);
    static struct tunnel tunnels[COUNT];
    static struct peer peers[2 * COUNT];
    for (int i = 0; i < COUNT; i++) {
        tunnel_open(relay, &tunnels[i], &(struct tunnel_options){ 0 });
        peers_of(&tunnels[i], &peers[2 * i]);
        peers[2 * i + CLIENT].to_send = UINT64_MAX;
    }
    fair_until_ms = now_ms() + 1000;
    drive(peers, 2 * COUNT, time_is_up);
    uint64_t least = UINT64_MAX, most = 0;
    for (int i = 0; i < COUNT; i++) {
        uint64_t received = peers[2 * i + UPSTREAM].received;
        CHECK(!peers[2 * i + UPSTREAM].differs);
        least = received < least ? received : least;
        most = received > most ? received : most;
        relay_abort(relay, tunnels[i].handle);
    }
    comment("the slowest got %llu bytes, the fastest %llu", (unsigned long long)least, (unsigned long long)most);
    CHECK(least > 0 && least >= most / 10);
    for (int i = 0; i < COUNT; i++)
        CHECK(tunnel_ended(&tunnels[i], RELAY_ABORTED));
    stop(relay);
}

/* Two tunnels with much to move from the start; and how much the one had moved when the other had its first turn. */
static struct tunnel loaded[2];
static _Atomic uint64_t moved_first;

static void load(struct tunnel *tunnel)
{
    struct peer sender = peer(tunnel->peer[CLIENT], 0, 0);
    sender.to_send = UINT64_MAX;
    drive_until_still(&sender, 1, 20);
    CHECK(sender.sent > 6 * MIB);
}

static void second_has_its_turn(void)
{
    atomic_store(&moved_first, counted(&loaded[0], RELAY_BYTES_UP));
}

static void first_has_its_turn(void)
{
    atomic_store(&moved_first, counted(&loaded[1], RELAY_BYTES_UP));
    if (atomic_load(&moved_first) == 0)
        between(RECV, loaded[1].inner[CLIENT], second_has_its_turn);
}

static void turns(void)
{
    struct tunnel waker;
    struct relay *relay = start(1);
    atomic_store(&reached, false);
    atomic_store(&go_on, false);
    atomic_store(&moved_first, 0);
    between(MUTEX_UNLOCKED, -1, wait_to_go_on);
    tunnel_open(relay, &waker, &(struct tunnel_options){ .idle_ms = 60000 });
    while (!atomic_load(&reached))
        sleep_ms(1);
    /* The thread takes both of them in at once. */
    for (int i = 0; i < 2; i++)
        tunnel_open(relay, &loaded[i], &(struct tunnel_options){ .buffer_bytes = 4 * MIB, .before = load });
    between(RECV, loaded[0].inner[CLIENT], first_has_its_turn);
    let_go_on();
    for (int i = 0; i < 2; i++)
        while (counted(&loaded[i], RELAY_BYTES_UP) == 0 || atomic_load(&moved_first) == 0)
            sleep_ms(1);
    comment("one had moved %llu bytes when the other had its turn", (unsigned long long)atomic_load(&moved_first));
    CHECK(atomic_load(&moved_first) <= 3 * MIB);
    relay_abort(relay, waker.handle);
    CHECK(tunnel_ended(&waker, RELAY_ABORTED));
    for (int i = 0; i < 2; i++) {
        relay_abort(relay, loaded[i].handle);
        CHECK(tunnel_ended(&loaded[i], RELAY_ABORTED));
    }
    stop(relay);
}

static uint64_t cpu_ms(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

static void stall(enum side one, enum side other)
{
    enum { COUNT = 10 };
    struct relay *relay = start(1);
    struct tunnel tunnels[COUNT];
    struct peer peers[2 * COUNT];
    for (int i = 0; i < COUNT; i++) {
        tunnel_open(relay, &tunnels[i], &(struct tunnel_options){ .buffer_bytes = SMALL_BUFFERS });
        peers_of(&tunnels[i], &peers[2 * i]);
        peers[2 * i + one].to_send = 64 * (uint64_t)MIB;
        peers[2 * i + other].limit = 0;
    }
    drive_until_still(peers, 2 * COUNT, 5 * STILL_MS);
    CHECK(totals(relay).pipes_in_use <= COUNT);
    uint64_t most = 0;
    for (int i = 0; i < COUNT; i++)
        most = peers[2 * i + one].sent > most ? peers[2 * i + one].sent : most;
    comment("%llu bytes taken from a sender at most", (unsigned long long)most);
    CHECK(most > 0 && most < 3 * MIB);
    uint64_t before_ms = cpu_ms();
    sleep_ms(500);
    comment("%llu ms of CPU in 500 ms", (unsigned long long)(cpu_ms() - before_ms));
    CHECK(cpu_ms() - before_ms < 100);
    for (int i = 0; i < COUNT; i++) {
        peers[2 * i + other].limit = 4 * MIB;
    }
    CHECK(drive(peers, 2 * COUNT, all_limits));
    for (int i = 0; i < COUNT; i++) {
        CHECK(!peers[2 * i + other].differs);
        relay_abort(relay, tunnels[i].handle);
        CHECK(tunnel_ended(&tunnels[i], RELAY_ABORTED));
    }
    stop(relay);
}
BOTH_WAYS(stall)

/* Neither a side that has ended its half, nor one that was reset while the other stalls, keeps the thread busy. */
static void rest_after_ends(void)
{
    struct relay *relay = start(1);
    struct tunnel half, broken;
    struct peer peers[2];
    tunnel_open(relay, &half, &(struct tunnel_options){ 0 });
    NEED(shutdown(half.peer[CLIENT], SHUT_WR) == 0);
    CHECK(hears_end(half.peer[UPSTREAM]) == FIN);
    tunnel_open(relay, &broken, &(struct tunnel_options){ .buffer_bytes = SMALL_BUFFERS });
    peers_of(&broken, peers);
    peers[CLIENT].to_send = 64 * (uint64_t)MIB;
    peers[UPSTREAM].limit = 0;
    drive_until_still(peers, 2, STILL_MS);
    reset(broken.peer[CLIENT]);
    broken.peer[CLIENT] = -1;
    sleep_ms(5 * STILL_MS);
    uint64_t before_ms = cpu_ms();
    sleep_ms(500);
    comment("%llu ms of CPU in 500 ms", (unsigned long long)(cpu_ms() - before_ms));
    CHECK(cpu_ms() - before_ms < 100);
    CHECK(atomic_load(&half.ended) == 0 && atomic_load(&broken.ended) == 0);
    relay_abort(relay, half.handle);
    relay_abort(relay, broken.handle);
    CHECK(tunnel_ended(&half, RELAY_ABORTED));
    CHECK(tunnel_ended(&broken, RELAY_CLIENT_RESET));
    stop(relay);
}

static void bytes_and_ends(void)
{
    test("both directions arrive as they were sent, over IPv4", both_directions_4);
    test("both directions arrive as they were sent, over IPv6", both_directions_6);
    test("bytes given at hand-over go first, and all but the reply are counted", bytes_at_hand_over);
    test("more bytes at hand-over than the kernel takes wait for their reader", much_at_hand_over);
    test("a reply alone is no first byte of the upstream", reply_alone);
    test("bytes and an end of file that came before the hand-over pass", bytes_and_end_before);
    test("urgent bytes of the client arrive in their place", urgent_client);
    test("urgent bytes of the upstream arrive in their place", urgent_upstream);
    test("urgent bytes amid bulk of the client neither stop it nor cut it", urgent_in_bulk_client);
    test("urgent bytes amid bulk of the upstream neither stop it nor cut it", urgent_in_bulk_upstream);
    test("an end of file of the client leaves the upstream's half open", half_close_client);
    test("an end of file of the upstream leaves the client's half open", half_close_upstream);
    test("an end of file of the client comes behind all that an upstream that stalls has to read", end_behind_a_stall_client);
    test("an end of file of the upstream comes behind all that a client that stalls has to read", end_behind_a_stall_upstream);
    test("a reset of the client passes behind its last words", reset_passes_client);
    test("a reset of the upstream passes behind its last words", reset_passes_upstream);
    test("an upstream that stalls reads all that the client got rid of, then the reset", reset_stall_quiet_client);
    test("a client that stalls reads all that the upstream got rid of, then the reset", reset_stall_quiet_upstream);
    test("so does an upstream that has much to say itself", reset_stall_noisy_client);
    test("so does a client that has much to say itself", reset_stall_noisy_upstream);
    test("so does an upstream with the system's buffers", reset_stall_large_client);
    test("so does a client with the system's buffers", reset_stall_large_upstream);
    test("a reset of the client passes after its own end of file", reset_after_own_end_client);
    test("a reset of the upstream passes after its own end of file", reset_after_own_end_upstream);
    test("a reset of the client passes after the upstream's end of file", reset_after_the_others_end_client);
    test("a reset of the upstream passes after the client's end of file", reset_after_the_others_end_upstream);
    test("resets of both sides at once end a tunnel", both_reset);
    test("a reset that came before the hand-over passes behind the reply and the last words", reset_before_unnoticed);
    test("so does one whose error was read already: it never becomes an end of file", reset_before_noticed);
    test("a reset that a write meets before epoll tells ends a half-closed tunnel", reset_met_by_writing);
    test("a reset that the last end of file meets is the cause", reset_met_by_ending);
}

static void limits_and_aborts(void)
{
    test("a silent tunnel ends when it has been idle for its limit", idle);
    test("so does one that is half-closed, when that limit is the shorter one", idle_half);
    test("a half-closed tunnel ends when it has been silent for its own limit", half_closed);
    test("so does one without a limit to idleness", half_closed_without_idle);
    test("bytes of the client postpone the end of an idle tunnel", traffic_postpones_client);
    test("bytes of the upstream postpone the end of an idle tunnel", traffic_postpones_upstream);
    test("a reader that stalls behind a reset has as long as a half-closed tunnel", stall_behind_a_reset);
    test("without limits silent and half-closed tunnels stay", for_ever);
    test("each of many tunnels ends at its own time", each_at_its_time);
    test("TCP_USER_TIMEOUT is set on both sockets when asked", user_timeout);
    test("TCP_NODELAY is set on both sockets, keepalive when asked", keepalive);
    test("a reader that takes what the kernel has for it postpones the end of an idle tunnel", slow_reader);
    test("a reset is not late for what its reader had to say meanwhile", noise_behind_a_reset);
    test("a quiet tunnel is handed over, its first bytes sent, and no thread is woken", quiet_hand_over);
    test("one with a shorter limit than the others is looked at in time", short_limit_behind_a_long_one);
    test("one whose sockets have much to say before it is handed over ends once", events_before_the_end_of_hand_over);
    test("a tunnel can be aborted at once, twice, and after its end", abort_at_once);
    test("tunnels that end by themselves while they are aborted end once, and can be freed at once", abort_while_ending);
    test("a tunnel aborted while the thread takes others in ends", abort_while_others_are_taken);
    test("a tunnel added while the thread takes others in ends with the relay", stop_while_others_are_taken);
    test("a tunnel aborted in mid-transfer is reset on both sides", abort_in_mid_transfer);
    test("the relay's stop ends tunnels of every kind, each once, before it returns", stop_with_tunnels);
    test("the relay's stop ends tunnels that have just been added", stop_right_after_adding);
    test("a duplicate of a descriptor elsewhere does not wake the dead", duplicate_elsewhere);
    test("counters read by another thread never decrease", counters_grow);
    test("a completed TLS handshake and nothing more is told from all else, however it is cut", handshakes);
    test("so is one that began before the hand-over, until bulk follows", handshake_at_hand_over);
}

static void pipes_and_fairness(void)
{
    test("small messages are copied", small_is_copied);
    test("bulk is spliced", bulk_is_spliced);
    test("pipes are given back, no more than 32 are kept, and none for long", pool_is_capped);
    test("what a tunnel left in its pipe is nobody else's", pipes_are_clean);
    test_in_child("without pages for pipes bytes are copied and that is counted, until there are some again", without_pipe_pages);
    test("without descriptors for pipes bytes are copied, and that is counted", without_descriptors);
    test("without memory for its timer a tunnel is aborted, and the next is not", without_memory_for_a_timer);
    test("without room in epoll a tunnel is aborted, and the next is not", without_watches);
    test("so it is with room for one of its sockets alone", without_a_second_watch);
    test("without memory for what a reader leaves its tunnel is aborted, and no other", without_memory_to_hold);
    test("of 100 bulk tunnels on one thread each gets on", fair);
    test("a tunnel with much to move lets others have their turns", turns);
    test("an upstream that stalls stops the client, and costs neither CPU nor memory without bound", stall_client);
    test("a client that stalls stops the upstream, and costs neither CPU nor memory without bound", stall_upstream);
    test("tunnels that wait for one side cost no CPU", rest_after_ends);
}

/*
 * relay-test [PART [WORDS]]: only the tests of one part, 1 to 3, and of those the ones whose names contain the words. Tests mostly
 * wait, so that parts may be run at once.
 */
int main(int argc, char **argv)
{
    static void (*const parts[])(void) = { bytes_and_ends, limits_and_aborts, pipes_and_fairness };
    enum { PARTS = sizeof parts / sizeof *parts };
    int part = argc > 1 ? atoi(argv[1]) : 0;
    NEED(part >= 0 && part <= PARTS);
    only(argc > 2 ? argv[2] : "");
    for (int i = 0; i < PARTS; i++)
        if (part == 0 || part == i + 1)
            parts[i]();
    return tested();
}
