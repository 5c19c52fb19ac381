/*
 * relay-soak.c - opens, half-closes, resets, stalls and abandons tunnels at random, against a model that knows of each what its
 * peers may see.
 *
 *   relay-soak [SECONDS [SEED]]
 */
#include "peers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 24, THREADS = 2, STEPS = 40, COMPLAINTS = 20, LATE_MS = 15000 };

/* How a peer left. */
enum gone { HERE, WITH_RESET, WITH_CLOSE };

struct story {
    struct peer peer;
    enum gone gone;
    uint64_t promised;     /* so many of its bytes the relay's kernel had when it left */
    bool after_the_other;  /* it ended its half when it had read the other's end */
};

struct slot {
    struct tunnel tunnel;  /* the first member, see before_hand_over */
    struct story story[2];
    struct tunnel_options options;
    uint64_t opened_ms, ended_ms;
    int steps;             /* left, before it is brought to an end */
    bool aborted, timers, early;
};

static struct slot slots[SLOTS];
static uint64_t state, seconds = 60, tunnels_done, bytes_done, complaints, causes[RELAY_CAUSES];

static double random_share(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) / (double)(UINT64_C(1) << 53);
}

static uint64_t random_below(uint64_t limit)
{
    return (uint64_t)(random_share() * (double)limit);
}

/* ---- What peers do ---- */

static void leave(struct slot *slot, enum side side, enum gone how)
{
    struct story *story = &slot->story[side];
    size_t unsent = unacknowledged(story->peer.fd); /* the end of file counts as one */
    story->gone = how;
    story->promised = unsent < story->peer.sent ? story->peer.sent - unsent : 0;
    if (how == WITH_RESET)
        reset(story->peer.fd);
    else
        close(story->peer.fd);
    slot->tunnel.peer[side] = -1;
}

static void end_half(struct slot *slot, enum side side)
{
    struct story *story = &slot->story[side];
    if (!story->peer.ends)
        story->after_the_other = story->peer.saw == FIN;
    story->peer.ends = true;
}

static void act(struct slot *slot, enum side side)
{
    struct story *story = &slot->story[side];
    struct peer *p = &story->peer;
    double choice = random_share(), size = random_share();
    if (story->gone != HERE)
        return;
    if (choice < 0.40) {
        if (!p->ends)
            p->to_send += (uint64_t)(size * size * size * 600000);
    } else if (choice < 0.44) {
        end_half(slot, side);
    } else if (choice < 0.46) {
        leave(slot, side, WITH_RESET);
    } else if (choice < 0.475) {
        leave(slot, side, WITH_CLOSE);
    } else if (choice < 0.62) {
        p->limit = p->received;
    } else if (choice < 0.68) {
        p->limit = p->received + random_below(100000);
    } else if (choice < 0.90) {
        p->limit = UINT64_MAX;
    } else if (choice < 0.91 && slot->tunnel.handle) {
        slot->aborted = true;
    }
}

static void before_hand_over(struct tunnel *tunnel)
{
    struct slot *slot = (struct slot *)tunnel;
    for (enum side side = CLIENT; side <= UPSTREAM; side++) {
        uint64_t text = random_below(1000000);
        slot->story[side].peer = peer(tunnel->peer[side], text, 0);
    }
    slot->story[CLIENT].peer.expects = slot->story[UPSTREAM].peer.text;
    slot->story[UPSTREAM].peer.expects = slot->story[CLIENT].peer.text;
    if (slot->early) {
        slot->options.up_bytes = random_below(400000);
        slot->options.up = text_at(slot->story[CLIENT].peer.text);
        slot->story[CLIENT].peer.sent = slot->story[CLIENT].peer.to_send = slot->options.up_bytes;
    }
    for (int i = random_share() < 0.3 ? 3 : 0; i > 0; i--) {
        enum side side = random_share() < 0.5 ? CLIENT : UPSTREAM;
        act(slot, side);
        if (slot->story[side].gone == HERE)
            peer_step(&slot->story[side].peer);
    }
}

static void open_slot(struct relay *relay, struct slot *slot)
{
    static const int buffers[] = { 0, 16384, 65536 };
    memset(slot, 0, sizeof *slot);
    slot->steps = (int)random_below(STEPS);
    slot->early = random_share() < 0.3;
    slot->timers = random_share() < 0.15;
    slot->options = (struct tunnel_options){
        .family = random_share() < 0.5 ? AF_INET : AF_INET6,
        .buffer_bytes = buffers[random_below(3)],
        .before = before_hand_over,
    };
    if (slot->timers) {
        slot->options.idle_ms = 20 + random_below(400);
        slot->options.half_close_ms = random_share() < 0.7 ? 20 + random_below(100) : 0;
    }
    slot->opened_ms = now_ms();
    tunnel_open(relay, &slot->tunnel, &slot->options);
}

/* ---- What they may see ---- */

static void complain(const struct slot *slot, const char *what)
{
    if (++complaints > COMPLAINTS)
        return;
    comment("tunnel %llu, cause %s%s%s: %s", (unsigned long long)tunnels_done, cause_name(slot->tunnel.cause),
            slot->aborted ? ", aborted" : "", slot->timers ? ", timers" : "", what);
    for (enum side side = CLIENT; side <= UPSTREAM; side++) {
        const struct story *story = &slot->story[side];
        static const char *const left[] = { "", ", left with a reset", ", left with a close" }, *const saw[] = { "nothing", "fin", "reset" };
        comment("  %s: sent %llu of %llu%s%s%s, promised %llu, received %llu, saw %s", side ? "upstream" : "client",
                (unsigned long long)story->peer.sent, (unsigned long long)story->peer.to_send,
                story->peer.ended ? ", ended" : "", left[story->gone], story->peer.broken ? ", could not write" : "",
                (unsigned long long)story->promised, (unsigned long long)story->peer.received, saw[story->peer.saw]);
    }
}

#define EXPECT(condition)                \
    do {                                 \
        if (!(condition))                \
            complain(slot, #condition);  \
    } while (0)

/* Whether somebody other than the peers may have cut it. */
static bool may_be_cut(const struct slot *slot)
{
    return slot->aborted || slot->timers;
}

static bool may_have_ended(const struct story *story)
{
    return story->peer.ended || story->gone == WITH_CLOSE;
}

static void judge_what_it_saw(const struct slot *slot, enum side side)
{
    const struct story *own = &slot->story[side], *other = &slot->story[1 - side];
    EXPECT(!own->peer.differs);
    EXPECT(own->peer.received <= other->peer.sent);
    EXPECT(counted(&slot->tunnel, side == CLIENT ? RELAY_BYTES_DOWN : RELAY_BYTES_UP) >= own->peer.received);
    EXPECT(counted(&slot->tunnel, side == CLIENT ? RELAY_BYTES_DOWN : RELAY_BYTES_UP) <= other->peer.sent);
    if (own->gone != HERE)
        return;
    EXPECT(own->peer.saw != OPEN);
    if (own->peer.saw == FIN) {
        EXPECT(may_have_ended(other));
        EXPECT(own->peer.received == other->peer.sent);
    }
    if (own->peer.saw == RESET)
        EXPECT(other->gone != HERE || may_be_cut(slot));
    if (own->peer.broken)
        EXPECT(other->gone != HERE || may_be_cut(slot));
    if (other->gone != HERE && !may_be_cut(slot))
        EXPECT(own->peer.received >= other->promised);
}

static void judge_cause(const struct slot *slot)
{
    const struct story *client = &slot->story[CLIENT], *upstream = &slot->story[UPSTREAM];
    switch (slot->tunnel.cause) {
    case RELAY_CLIENT_FIN:
    case RELAY_UPSTREAM_FIN:
        EXPECT(may_have_ended(client) && may_have_ended(upstream));
        EXPECT(!(slot->tunnel.cause == RELAY_CLIENT_FIN ? client : upstream)->after_the_other);
        break;
    case RELAY_CLIENT_RESET:
        EXPECT(client->gone != HERE);
        break;
    case RELAY_UPSTREAM_RESET:
        EXPECT(upstream->gone != HERE);
        break;
    case RELAY_IDLE_TIMEOUT:
        EXPECT(slot->options.idle_ms > 0);
        EXPECT(slot->tunnel.ended_ms - slot->opened_ms >= slot->options.idle_ms);
        break;
    case RELAY_HALF_CLOSE_TIMEOUT:
        EXPECT(slot->options.half_close_ms > 0);
        EXPECT(may_have_ended(client) || may_have_ended(upstream));
        EXPECT(slot->tunnel.ended_ms - slot->opened_ms >= slot->options.half_close_ms);
        break;
    case RELAY_ABORTED:
        EXPECT(slot->aborted);
        break;
    default:
        EXPECT(!"a cause that nothing here has");
    }
    if (client->gone == WITH_RESET && upstream->gone == HERE && !client->peer.ended && !may_be_cut(slot))
        EXPECT(slot->tunnel.cause == RELAY_CLIENT_RESET);
    if (upstream->gone == WITH_RESET && client->gone == HERE && !upstream->peer.ended && !may_be_cut(slot))
        EXPECT(slot->tunnel.cause == RELAY_UPSTREAM_RESET);
    if (client->gone == HERE && upstream->gone == HERE && !may_be_cut(slot))
        EXPECT(slot->tunnel.cause == RELAY_CLIENT_FIN || slot->tunnel.cause == RELAY_UPSTREAM_FIN);
}

/* ---- The run ---- */

/* True when the tunnel has ended, and each peer that is left has seen its end. */
static bool over(const struct slot *slot)
{
    if (atomic_load(&slot->tunnel.ended) == 0)
        return false;
    for (enum side side = CLIENT; side <= UPSTREAM; side++)
        if (slot->story[side].gone == HERE && slot->story[side].peer.saw == OPEN)
            return false;
    return true;
}

static bool step(struct relay *relay, struct slot *slot)
{
    bool moved = false, was_aborted = slot->aborted, ended = atomic_load(&slot->tunnel.ended) > 0;
    if (slot->steps > 0 && random_share() < 0.2 && !ended) {
        slot->steps--;
        act(slot, random_share() < 0.5 ? CLIENT : UPSTREAM);
        if (slot->aborted && !was_aborted)
            relay_abort(relay, slot->tunnel.handle);
        moved = true;
    }
    for (enum side side = CLIENT; side <= UPSTREAM; side++) {
        struct story *story = &slot->story[side];
        if (story->gone != HERE)
            continue;
        /* In the end all is read and both halves end; a tunnel with timers may find out what they do. */
        if (ended || (slot->steps == 0 && !slot->timers))
            story->peer.limit = UINT64_MAX;
        if (slot->steps == 0 && !slot->timers)
            end_half(slot, side);
        moved = peer_step(&story->peer) || moved;
    }
    return moved;
}

static void finish_slot(struct slot *slot)
{
    for (enum side side = CLIENT; side <= UPSTREAM; side++) {
        judge_what_it_saw(slot, side);
        bytes_done += slot->story[side].peer.received;
    }
    judge_cause(slot);
    causes[slot->tunnel.cause]++;
    tunnels_done++;
    CHECK(atomic_load(&slot->tunnel.ended) == 1);
    tunnel_close(&slot->tunnel);
    slot->tunnel.handle = NULL;
}

static void soak(void)
{
    struct relay *relay = start(THREADS);
    uint64_t until_ms = now_ms() + seconds * 1000;
    for (size_t living = SLOTS; living > 0;) {
        bool moved = false;
        living = 0;
        for (struct slot *slot = slots; slot < slots + SLOTS; slot++) {
            if (!slot->tunnel.handle) {
                if (now_ms() >= until_ms)
                    continue;
                open_slot(relay, slot);
            }
            living++;
            moved = step(relay, slot) || moved;
            if (over(slot)) {
                finish_slot(slot);
            } else if (now_ms() - slot->opened_ms > LATE_MS && !slot->aborted) {
                complain(slot, "it has not ended for long");
                slot->aborted = true;
                relay_abort(relay, slot->tunnel.handle);
            }
        }
        if (!moved) {
            struct peer peers[2 * SLOTS];
            size_t count = 0;
            for (struct slot *slot = slots; slot < slots + SLOTS; slot++)
                for (enum side side = CLIENT; side <= UPSTREAM; side++)
                    if (slot->tunnel.handle && slot->story[side].gone == HERE)
                        peers[count++] = slot->story[side].peer;
            wait_for(peers, count, 2);
        }
    }
    struct relay_totals now = totals(relay);
    comment("%llu tunnels, %llu MiB, %llu spliced, %llu copied", (unsigned long long)tunnels_done,
            (unsigned long long)bytes_done >> 20, (unsigned long long)now.spliced_bytes >> 20, (unsigned long long)now.copied_bytes >> 20);
    for (enum relay_cause cause = RELAY_CLIENT_FIN; cause < RELAY_CAUSES; cause++)
        comment("%s: %llu", cause_name(cause), (unsigned long long)causes[cause]);
    CHECK(complaints == 0);
    CHECK(tunnels_done > 10 * seconds);
    stop(relay);
}

int main(int argc, char **argv)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    seconds = argc > 1 ? strtoull(argv[1], NULL, 10) : 60;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)now.tv_nsec;
    state = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    comment("seed %llu", (unsigned long long)seed);
    limit((unsigned)seconds + 30);
    test("whatever the peers of many tunnels do, neither is told what the other did not do", soak);
    return tested();
}
