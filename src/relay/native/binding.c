/*
 * binding.c - relay.c for JavaScript, by Node-API alone: one binary serves every version of Node.
 *
 * Over 300 lines, since every call of Node-API spells out its arguments and their checks.
 *
 * JavaScript checks its arguments; here a wrong one is a mistake in src/relay/splice.ts and throws a TypeError.
 */
#define NAPI_VERSION 8
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <node_api.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SLOTS_OF_A_SLAB = 256 }; /* as in src/relay/splice.ts */

/* What the binding knows of a tunnel. There before the tunnel is, so that its end needs no memory that may not be there. */
struct slot {
    struct slot *next;           /* of those that have ended, on their way from a relay thread to JavaScript */
    struct relay_tunnel *tunnel; /* NULL: none, as far as JavaScript knows */
    struct relay_tunnel *ended;  /* the same, set on a relay thread */
    uint32_t number;
    enum relay_cause cause;
};

/* So many slots, and the counters of their tunnels; JavaScript's memory, kept alive by the reference. */
struct slab {
    napi_ref reference;
    uint64_t *counters;
    struct slot slots[SLOTS_OF_A_SLAB];
};

/* What an environment (the main thread, a worker) has of its own. */
struct binding {
    struct relay *relay;
    napi_threadsafe_function wake;
    uint32_t tunnels;            /* that JavaScript has not heard the end of; they keep the process alive */
    struct slab **slabs;
    uint32_t slabs_count;
    pthread_mutex_t lock;
    struct slot *first, **last;  /* those that have ended; under lock */
};

static napi_value throw_errno(napi_env env, const char *what, int error)
{
    char message[160];
    snprintf(message, sizeof message, "%s: %s", what, strerror(error));
    napi_throw_error(env, NULL, message);
    return NULL;
}

static napi_value throw_misuse(napi_env env, const char *what)
{
    napi_throw_type_error(env, NULL, what);
    return NULL;
}

/* On a relay thread: JavaScript is woken once for all that have ended meanwhile. */
static void on_ended(void *owner, struct relay_tunnel *tunnel, enum relay_cause cause)
{
    struct binding *binding = owner;
    struct slot *slot = relay_tag(tunnel);
    bool first;
    slot->ended = tunnel; /* not `tunnel`: relay_add may not have returned yet */
    slot->cause = cause;
    slot->next = NULL;
    pthread_mutex_lock(&binding->lock);
    first = binding->first == NULL;
    *binding->last = slot;
    binding->last = &slot->next;
    pthread_mutex_unlock(&binding->lock);
    if (first)
        napi_call_threadsafe_function(binding->wake, NULL, napi_tsfn_nonblocking);
}

static struct slot *take_ended(struct binding *binding)
{
    struct slot *first;
    pthread_mutex_lock(&binding->lock);
    first = binding->first;
    binding->first = NULL;
    binding->last = &binding->first;
    pthread_mutex_unlock(&binding->lock);
    return first;
}

/* The slot is free from here on. */
static void free_ended(struct slot *slot)
{
    relay_free(slot->ended);
    slot->tunnel = slot->ended = NULL;
}

/* On the JavaScript thread: calls back with (slot, cause) for each. */
static void report(napi_env env, napi_value callback, void *context, void *data)
{
    struct binding *binding = context;
    struct slot *slot = take_ended(binding);
    napi_value undefined = NULL;
    (void)data;
    if (env)
        napi_get_undefined(env, &undefined);
    while (slot) {
        struct slot *next = slot->next;
        enum relay_cause cause = slot->cause;
        free_ended(slot);
        if (--binding->tunnels == 0 && env)
            napi_unref_threadsafe_function(env, binding->wake);
        if (env) {
            napi_value arguments[2];
            napi_create_uint32(env, slot->number, &arguments[0]);
            napi_create_uint32(env, cause, &arguments[1]);
            if (napi_call_function(env, undefined, callback, 2, arguments, NULL) == napi_pending_exception) {
                /* Reported as uncaught: the ends behind this one must be told all the same. */
                napi_value error;
                napi_get_and_clear_last_exception(env, &error);
                napi_fatal_exception(env, error);
            }
        }
        slot = next;
    }
}

/* The environment goes: no thread may be left that would call into it. */
static void stop(void *data)
{
    struct binding *binding = data;
    struct relay *relay = binding->relay;
    binding->relay = NULL;
    if (relay)
        relay_stop(relay);
}

static void finalize(napi_env env, void *data, void *hint)
{
    struct binding *binding = data;
    struct slot *slot;
    (void)hint;
    stop(binding);
    for (slot = take_ended(binding); slot;) {
        struct slot *next = slot->next;
        free_ended(slot);
        slot = next;
    }
    for (uint32_t i = 0; i < binding->slabs_count; i++) {
        napi_delete_reference(env, binding->slabs[i]->reference);
        free(binding->slabs[i]);
    }
    free(binding->slabs);
    pthread_mutex_destroy(&binding->lock);
    free(binding);
}

static struct binding *binding_of(napi_env env)
{
    void *data = NULL;
    napi_get_instance_data(env, &data);
    return data;
}

/* start(threads, onEnded): void. Throws where threads or memory are not to be had. */
static napi_value js_start(napi_env env, napi_callback_info info)
{
    struct binding *binding = binding_of(env);
    size_t argc = 2;
    napi_value argv[2], name;
    uint32_t threads;
    if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc != 2 ||
        napi_get_value_uint32(env, argv[0], &threads) != napi_ok || threads == 0)
        return throw_misuse(env, "start(threads, onEnded)");
    if (binding->relay)
        return throw_misuse(env, "started already");
    napi_create_string_utf8(env, "spliceway relay", NAPI_AUTO_LENGTH, &name);
    if (napi_create_threadsafe_function(env, argv[1], NULL, name, 0, 1, NULL, NULL, binding, report, &binding->wake) != napi_ok)
        return throw_misuse(env, "onEnded must be a function");
    /* Tunnels keep the process alive; the core alone must not. */
    napi_unref_threadsafe_function(env, binding->wake);
    binding->relay = relay_start(&(struct relay_options){ .threads = threads, .ended = on_ended, .owner = binding });
    if (!binding->relay) {
        int error = errno;
        napi_release_threadsafe_function(binding->wake, napi_tsfn_abort);
        return throw_errno(env, "the relay threads could not be started", error);
    }
    return NULL;
}

/* lend(slab): void. The counters of the next SLOTS_OF_A_SLAB slots, kept for good. */
static napi_value js_lend(napi_env env, napi_callback_info info)
{
    struct binding *binding = binding_of(env);
    size_t argc = 1, length = 0;
    napi_value argv[1];
    napi_typedarray_type type;
    void *counters = NULL;
    struct slab *slab, **slabs;
    if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc != 1 ||
        napi_get_typedarray_info(env, argv[0], &type, &length, &counters, NULL, NULL) != napi_ok ||
        type != napi_biguint64_array || length != SLOTS_OF_A_SLAB * RELAY_COUNTERS)
        return throw_misuse(env, "lend(slab)");
    slabs = realloc(binding->slabs, (binding->slabs_count + 1) * sizeof *slabs);
    if (slabs)
        binding->slabs = slabs;
    slab = slabs ? calloc(1, sizeof *slab) : NULL;
    if (!slab || napi_create_reference(env, argv[0], 1, &slab->reference) != napi_ok) {
        free(slab);
        return throw_errno(env, "no memory for tunnels", ENOMEM);
    }
    slab->counters = counters;
    for (uint32_t i = 0; i < SLOTS_OF_A_SLAB; i++)
        slab->slots[i].number = binding->slabs_count * SLOTS_OF_A_SLAB + i;
    binding->slabs[binding->slabs_count++] = slab;
    return NULL;
}

/* NULL for a number that is no slot's. */
static struct slot *slot_of(struct binding *binding, uint32_t number, uint64_t **counters)
{
    struct slab *slab;
    if (number / SLOTS_OF_A_SLAB >= binding->slabs_count)
        return NULL;
    slab = binding->slabs[number / SLOTS_OF_A_SLAB];
    *counters = slab->counters + number % SLOTS_OF_A_SLAB * RELAY_COUNTERS;
    return &slab->slots[number % SLOTS_OF_A_SLAB];
}

static bool bytes_of(napi_env env, napi_value value, const void **bytes, size_t *count)
{
    void *data = NULL;
    bool ok = napi_get_buffer_info(env, value, &data, count) == napi_ok;
    *bytes = data;
    return ok;
}

/*
 * add(slot, client, upstream, up, down, downUncounted, keepaliveSeconds, idleMs, halfCloseMs, userTimeoutMs): void.
 * Duplicates both descriptors: the caller closes its own in the same turn. Throws, with nothing changed, where that fails.
 */
static napi_value js_add(napi_env env, napi_callback_info info)
{
    struct binding *binding = binding_of(env);
    struct relay_tunnel_options options = { 0 };
    size_t argc = 10;
    napi_value argv[10];
    int32_t client, upstream;
    uint32_t number, uncounted, keepalive, user_timeout;
    int64_t idle, half_close;
    struct slot *slot;
    struct relay_tunnel *tunnel = NULL;
    int error;
    if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc != 10 ||
        napi_get_value_uint32(env, argv[0], &number) != napi_ok || napi_get_value_int32(env, argv[1], &client) != napi_ok ||
        napi_get_value_int32(env, argv[2], &upstream) != napi_ok || !bytes_of(env, argv[3], &options.up, &options.up_bytes) ||
        !bytes_of(env, argv[4], &options.down, &options.down_bytes) ||
        napi_get_value_uint32(env, argv[5], &uncounted) != napi_ok || napi_get_value_uint32(env, argv[6], &keepalive) != napi_ok ||
        napi_get_value_int64(env, argv[7], &idle) != napi_ok || napi_get_value_int64(env, argv[8], &half_close) != napi_ok ||
        napi_get_value_uint32(env, argv[9], &user_timeout) != napi_ok || idle < 0 || half_close < 0 ||
        uncounted > options.down_bytes)
        return throw_misuse(env, "add(slot, client, upstream, up, down, downUncounted, keepaliveSeconds, idleMs, halfCloseMs, userTimeoutMs)");
    slot = slot_of(binding, number, &options.counters);
    if (!binding->relay || !slot || slot->tunnel)
        return throw_misuse(env, "not started, or not a free slot");
    options.tag = slot;
    options.down_uncounted = uncounted;
    options.keepalive_s = keepalive;
    options.idle_ms = (uint64_t)idle;
    options.half_close_ms = (uint64_t)half_close;
    options.user_timeout_ms = user_timeout;
    options.client = fcntl(client, F_DUPFD_CLOEXEC, 3);
    options.upstream = options.client < 0 ? -1 : fcntl(upstream, F_DUPFD_CLOEXEC, 3);
    error = errno;
    if (options.upstream >= 0) {
        tunnel = relay_add(binding->relay, &options);
        error = errno;
    }
    if (!tunnel) {
        if (options.client >= 0)
            close(options.client);
        if (options.upstream >= 0)
            close(options.upstream);
        return throw_errno(env, "the tunnel could not be handed to the relay threads", error);
    }
    slot->tunnel = tunnel;
    if (binding->tunnels++ == 0)
        napi_ref_threadsafe_function(env, binding->wake);
    return NULL;
}

/* abort(slot): void. Does nothing where onEnded has been called for it. */
static napi_value js_abort(napi_env env, napi_callback_info info)
{
    struct binding *binding = binding_of(env);
    size_t argc = 1;
    napi_value argv[1];
    uint32_t number;
    uint64_t *counters;
    struct slot *slot;
    if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc != 1 ||
        napi_get_value_uint32(env, argv[0], &number) != napi_ok || !(slot = slot_of(binding, number, &counters)))
        return throw_misuse(env, "abort(slot)");
    if (binding->relay && slot->tunnel)
        relay_abort(binding->relay, slot->tunnel);
    return NULL;
}

/* totals(): number[], in the order of struct relay_totals. */
static napi_value js_totals(napi_env env, napi_callback_info info)
{
    struct binding *binding = binding_of(env);
    struct relay_totals totals = { 0 };
    napi_value result, value;
    (void)info;
    if (binding->relay)
        relay_read_totals(binding->relay, &totals);
    const uint64_t values[] = { totals.spliced_bytes, totals.copied_bytes, totals.pipes_in_use, totals.pipes_pooled,
                                totals.fallbacks[RELAY_NO_PIPE_PAGES], totals.fallbacks[RELAY_NO_DESCRIPTORS],
                                totals.fallbacks[RELAY_NO_SPLICE] };
    napi_create_array_with_length(env, sizeof values / sizeof values[0], &result);
    for (uint32_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        napi_create_double(env, (double)values[i], &value);
        napi_set_element(env, result, i, value);
    }
    return result;
}

NAPI_MODULE_INIT()
{
    struct binding *binding = calloc(1, sizeof *binding);
    napi_property_descriptor functions[] = {
        { "start", NULL, js_start, NULL, NULL, NULL, napi_enumerable, NULL },
        { "lend", NULL, js_lend, NULL, NULL, NULL, napi_enumerable, NULL },
        { "add", NULL, js_add, NULL, NULL, NULL, napi_enumerable, NULL },
        { "abort", NULL, js_abort, NULL, NULL, NULL, napi_enumerable, NULL },
        { "totals", NULL, js_totals, NULL, NULL, NULL, napi_enumerable, NULL },
    };
    if (!binding)
        return NULL;
    pthread_mutex_init(&binding->lock, NULL);
    binding->last = &binding->first;
    napi_set_instance_data(env, binding, finalize, NULL);
    /* Joins the threads before the environment frees the thread-safe function; one that closes already takes calls, and drops them. */
    napi_add_env_cleanup_hook(env, stop, binding);
    napi_define_properties(env, exports, sizeof functions / sizeof functions[0], functions);
    return exports;
}
