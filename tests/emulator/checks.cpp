/* checks.cpp: looks at every access of a kernel to memory, as compute-sanitizer's memcheck, racecheck and initcheck do.
   SPDX-License-Identifier: MIT

   The compiler announces accesses to what it takes for ThreadSanitizer's runtime (-fsanitize=thread). Here is another one,
   which knows what orders the threads of a launch: the barriers of a block, a warp and a cluster, nothing else. Each
   4 bytes, or each byte where bytes are used, remember who wrote last and two that read since. Two accesses of one
   place race if one of them is a write, no barrier lies between them and not both are volatile.
     HILLOCK_EMULATED_GO_ON=1            tells of each pair of places once and goes on
     HILLOCK_EMULATED_WITHOUT=FILE:LINE  takes the barrier there for none */
#include "checks_pages.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <map>
#include <set>

namespace {

enum { WARP = 32, VOLATILE = 1 << 15 };

struct thread_state {
    access now;
    uint16_t seen[WARP]; /* barriers of the lanes of the warp that lie behind this thread */
};

thread_state states[MOST_CLUSTER * MOST_THREADS];
__thread thread_state *self;
const launch *running;
uint32_t first_run, runs;  /* of the launch; of all */
uint32_t oldest;           /* the first run whose accesses count at the place that is looked at */
std::vector<uint3> blocks; /* of the launch */
const char *shared_of[MOST_CLUSTER];
size_t static_bytes, static_most; /* of the block; of the launch's blocks */
struct {
    int barriers;
    int32_t place;
} last_put[MOST_CLUSTER]; /* into each block of a cluster */

/* --- telling --------------------------------------------------------------------------------------------------------- */

const char *code() { return (const char *)(uintptr_t)checks_begin; }

int32_t place_of(const void *pc) { return (int32_t)((const char *)pc - code()); }

/* Calls act(line) for what addr2line has to say of a place. */
template <class F> void lines_of(int32_t place, F act) {
    Dl_info about;
    char command[1000], line[400];
    const char *pc = code() + place - 1;
    if (!dladdr(pc, &about)) return;
    snprintf(command, sizeof command, "addr2line -ipfCe '%s' %#zx", about.dli_fname,
             (size_t)(pc - (const char *)about.dli_fbase));
    FILE *lines = popen(command, "r");
    while (lines && fgets(line, sizeof line, lines)) act(line);
    if (lines) pclose(lines);
}

void tell_code(int32_t place) {
    lines_of(place, [](const char *line) { fprintf(stderr, "    %s", line); });
}

void tell_who(const access &a) {
    const uint3 b = blocks[a.run - first_run];
    const unsigned x = running ? running->block.x : 1, y = running ? running->block.y : 1;
    fprintf(stderr, "block (%u, %u, %u), thread (%u, %u, %u)", b.x, b.y, b.z, a.thread % x,
            a.thread / x % y, a.thread / x / y);
}

/* Ends the program, or goes on where the environment says so: then each pair of places is told once. */
void tell(const char *what, const void *p, int32_t place, const access *before, const char *was) {
    static const bool go_on = set_to("HILLOCK_EMULATED_GO_ON", "1");
    static std::set<std::pair<int32_t, int32_t>> told;
    if (!told.insert({place, before ? before->place : 0}).second) return;
    fprintf(stderr, "emulator: ");
    tell_who(self->now);
    fprintf(stderr, " %s %p\n", what, p);
    tell_code(place);
    if (before) {
        fprintf(stderr, "  where ");
        tell_who(*before);
        fprintf(stderr, " %s, with no barrier in between\n", was);
        tell_code(before->place);
    }
    if (!go_on) abort();
}

/* --- what is ordered --------------------------------------------------------------------------------------------------- */

int barriers(uint16_t cluster) { return cluster & ~VOLATILE; }

/* The first run of an access's cluster, or the run itself. */
uint32_t cluster_of(const access &a) {
    return running && running->cluster > 1 ? a.run - (a.run - first_run) % running->cluster : a.run;
}

/* Whether a lies behind the thread that runs. */
inline bool is_ordered(const access &a) {
    const access &now = self->now;
    if (a.run < oldest) return true;
    if (a.run == now.run)
        return a.thread == now.thread || a.barrier < now.barrier ||
               barriers(a.cluster) < barriers(now.cluster) ||
               (a.thread / WARP == now.thread / WARP && a.warp < self->seen[a.thread % WARP]);
    return running && running->cluster > 1 && cluster_of(a) == cluster_of(now) &&
           barriers(a.cluster) < barriers(now.cluster);
}

inline bool race(const access &a, bool is_volatile) {
    return a.run >= oldest && !(is_volatile && a.cluster & VOLATILE) && !is_ordered(a);
}

/* How far apart two readers are: what comes next is more often beside the farther one. */
int distance(const access &a, const access &b) {
    return a.run != b.run ? 3 : a.thread / WARP != b.thread / WARP ? 2 : a.thread != b.thread;
}

inline void note(cell *c, bool write, const access &now, const void *p) {
    const bool is_volatile = now.cluster & VOLATILE;
    if (race(c->write, is_volatile))
        tell(write ? "writes to" : "reads", p, now.place, &c->write, "wrote");
    if (!write) {
        if (is_ordered(c->read[0])) {
            c->read[0] = now;
        } else if (is_ordered(c->read[1]) ||
                   distance(now, c->read[0]) > distance(c->read[1], c->read[0])) {
            c->read[1] = now;
        }
        return;
    }
    for (const access &r : c->read)
        if (race(r, is_volatile)) {
            tell("writes to", p, now.place, &r, "read");
            break;
        }
    c->write = now;
    c->read[0].run = c->read[1].run = 0;
}

/* --- accesses ---------------------------------------------------------------------------------------------------------- */

enum kind { ELSEWHERE, LOCAL, DEVICE, SHARED, STATIC };

/* Where this thread of the host has its thread_local variables. */
int add_module(dl_phdr_info *info, size_t, void *to) {
    size_t *all = (size_t *)to;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS)
            *all += info->dlpi_phdr[i].p_memsz + info->dlpi_phdr[i].p_align;
    return 0;
}
bool is_static(uintptr_t at) {
    static size_t all;
    if (!all) dl_iterate_phdr(add_module, &all);
    return (uintptr_t)__builtin_thread_pointer() - at <= all;
}

bool is_builtin(uintptr_t at) {
    return at - (uintptr_t)&threadIdx < sizeof threadIdx ||
           at - (uintptr_t)&blockIdx < sizeof blockIdx ||
           at - (uintptr_t)&blockDim < sizeof blockDim ||
           at - (uintptr_t)&gridDim < sizeof gridDim ||
           at - (uintptr_t)&emulated_shared < sizeof emulated_shared;
}

kind kind_of(uintptr_t at, size_t n) {
    if (stack_area.has((const void *)at)) return LOCAL;
    if (device_area.has((const void *)at)) return DEVICE;
    if (running && at >= (uintptr_t)running->values.data() &&
        at + n <= (uintptr_t)(running->values.data() + running->values.size()))
        return LOCAL;
    if (shared_area.has((const void *)at)) return SHARED;
    if (is_static(at)) return is_builtin(at) ? LOCAL : STATIC;
    if (is_pinned((const void *)at, n)) return DEVICE;
    return ELSEWHERE;
}

void look(uintptr_t at, size_t n, bool write, bool is_volatile, int32_t place, int owner) {
    const void *p = (const void *)at;
    const kind where = kind_of(at, n);
    if (where == LOCAL) return;
    if (where == ELSEWHERE) { /* a constant, or a library's own */
        if (write && running) tell("writes to memory of the host:", p, place, NULL, NULL);
        return;
    }
    if (where == SHARED && (at < (uintptr_t)shared_of[owner] ||
                            at + n > (uintptr_t)shared_of[owner] + running->shared))
        return tell("is beyond the shared memory that the launch asked for, at", p, place, NULL,
                    NULL);
    if (where == STATIC && running->cluster > 1)
        return tell("uses shared memory that is not asked for at the launch, in a cluster, at", p,
                    place, NULL, NULL);
    access now = self->now;
    now.place = place;
    if (is_volatile) now.cluster |= VOLATILE;
    oldest = where == DEVICE ? first_run : cluster_of(now);
    const uint32_t run = states[owner * MOST_THREADS].now.run;
    by_page(p, n, [&](page *q, int from, int part) {
        bool dead = false, unset = false;
        if (where != DEVICE && q->run != run) {
            q->run = run;
            memset(q->set, 0, sizeof q->set);
        }
        by_word(from, part, [&](int word, uint64_t mask) {
            if (where == DEVICE) dead |= (q->live[word] & mask) != mask;
            unset |= (q->set[word] & mask) != mask;
            if (!write) return;
            if (where == STATIC) static_bytes += (size_t)__builtin_popcountll(mask & ~q->set[word]);
            q->set[word] |= mask;
        });
        if (dead)
            return tell(write ? "writes to what is not its memory, at"
                              : "reads what is not its memory, at",
                        p, place, NULL, NULL);
        if (unset && !write) tell("reads what nothing wrote, at", p, place, NULL, NULL);
        const bool bytes = q->bytes || (from | part) & 3;
        cell *c = cells_of(q, bytes);
        for (int i = from; i < from + part; i += bytes ? 1 : 4)
            note(c + (bytes ? i : i / 4), write, now, (const char *)p - from + i);
    });
}

/* The same for most accesses, quickly: whole words, within one of a page's words of bits, where there is nothing to tell
   but a race. False for others. */
bool is_plain(uintptr_t at, size_t n, bool write, int32_t place) {
    if ((n != 4 && n != 8 && n != 16) || at % n) return false; /* 12 bytes may leave the page */
    const kind where = kind_of(at, n);
    const uint64_t mask = bits((int)(at % 64), (int)n);
    const int word = (int)(at % PAGE / 64), from = (int)(at % PAGE / 4);
    if (where != DEVICE && where != STATIC) return false;
    page *q = page_of(at / PAGE);
    access now = self->now;
    now.place = place;
    if (q->bytes || !q->cells || (!write && (q->set[word] & mask) != mask)) return false;
    if (where == DEVICE && (q->live[word] & mask) != mask) return false;
    if (where == STATIC &&
        (q->run != now.run || running->cluster > 1 || (q->set[word] & mask) != mask))
        return false;
    oldest = where == DEVICE ? first_run : now.run;
    q->set[word] |= mask;
    for (int i = from; i < from + (int)n / 4; i++) note(q->cells + i, write, now, (const void *)at);
    return true;
}

inline void seen(void *p, size_t n, bool write, bool is_volatile, bool aligned, void *pc) {
    if (!self || stack_area.has(p)) return;
    const uintptr_t at = (uintptr_t)p;
    const int32_t place = place_of(pc);
    if (aligned && at % n)
        return tell(
            "reads or writes more than a byte at an address that is no multiple of its size:", p,
            place, NULL, NULL);
    if (is_volatile || !is_plain(at, n, write, place))
        look(at, n, write, is_volatile, place, (int)(self - states) / MOST_THREADS);
}

} /* namespace */

/* --- what the emulator tells ---------------------------------------------------------------------------------------------- */

void checks_begin(const launch *k) {
    first_run = runs + 1;
    running = k;
    blocks.clear();
    static_most = static_bytes = 0;
    if (k) return;
    checks_block({0, 0, 0}, 0, 1, NULL);
    checks_switch(0);
}

void checks_end() {
    if (static_bytes > static_most) static_most = static_bytes;
    if (running && static_most > running->static_room)
        fail("a GPU has less shared memory than the kernel and its launch ask for");
    self = NULL;
    running = NULL;
}

void checks_block(uint3 index, int first, int threads, const void *shared) {
    runs++;
    if (static_bytes > static_most) static_most = static_bytes;
    static_bytes = 0;
    blocks.push_back(index);
    last_put[first / MOST_THREADS] = {-1, 0};
    shared_of[first / MOST_THREADS] = (const char *)shared;
    for (int i = 0; i < threads; i++) {
        states[first + i] = {};
        states[first + i].now.run = runs;
        states[first + i].now.thread = (uint16_t)i;
    }
}

void checks_switch(int fiber) { self = fiber < 0 ? NULL : &states[fiber]; }

static void count(uint16_t *barriers) {
    if (++*barriers == VOLATILE) fail("more barriers than the checks can count");
}
/* A barrier whose lines of code hold HILLOCK_EMULATED_WITHOUT orders nothing: would its lack be noticed? */
static bool is_left_out(const void *pc) {
    static const char *const text = getenv("HILLOCK_EMULATED_WITHOUT");
    static std::map<const void *, bool> known;
    if (!text) return false;
    const auto k = known.find(pc);
    if (k != known.end()) return k->second;
    bool is = false;
    lines_of(place_of(pc), [&](const char *line) {
        const char *at = strstr(line, text);
        is |= at && (at[strlen(text)] < '0' || at[strlen(text)] > '9');
    });
    return known[pc] = is;
}

void checks_barrier(const void *pc) {
    if (!is_left_out(pc)) count(&self->now.barrier);
}
void checks_cluster_barrier(const void *pc) {
    if (!is_left_out(pc)) count(&self->now.cluster);
}

void checks_warp_barrier(int first, unsigned lanes, const void *pc) {
    if (is_left_out(pc)) return;
    uint16_t seen[WARP] = {};
    for (int i = 0; i < WARP; i++) {
        if (!(lanes >> i & 1)) continue;
        thread_state *s = &states[first + i];
        count(&s->now.warp);
        s->seen[i] = s->now.warp;
        for (int j = 0; j < WARP; j++) seen[j] = seen[j] < s->seen[j] ? s->seen[j] : seen[j];
    }
    for (int i = 0; i < WARP; i++)
        if (lanes >> i & 1) memcpy(states[first + i].seen, seen, sizeof seen);
}

void checks_put(int first, const void *p, size_t bytes) {
    const int32_t place = place_of(__builtin_return_address(0));
    look((uintptr_t)p, bytes, true, false, place, first / MOST_THREADS);
    if (barriers(self->now.cluster) == 0)
        tell("writes, before a first barrier, to a block that may not have begun:", p, place, NULL,
             NULL);
    last_put[first / MOST_THREADS] = {barriers(self->now.cluster), place};
}

/* A block must not end before what others put there has come. */
void checks_cluster_end(unsigned n) {
    const int threads = (int)(running->block.x * running->block.y * running->block.z);
    for (unsigned b = 0; b < n; b++) {
        thread_state *const s = &states[b * MOST_THREADS];
        int last = 0;
        for (int i = 0; i < threads; i++)
            last = last > barriers(s[i].now.cluster) ? last : barriers(s[i].now.cluster);
        self = s;
        if (last_put[b].barriers >= last)
            tell("may be gone when another block writes to", shared_of[b], last_put[b].place, NULL,
                 NULL);
        self = NULL;
    }
}

/* --- what the compiler tells ------------------------------------------------------------------------------------------------ */

#define EXPORT extern "C" __attribute__((visibility("default")))
#define HERE __builtin_return_address(0)
#define ACCESSES(n)                                                                                \
    EXPORT void __tsan_read##n(void *p) { seen(p, n, false, false, true, HERE); }                  \
    EXPORT void __tsan_write##n(void *p) { seen(p, n, true, false, true, HERE); }                  \
    EXPORT void __tsan_volatile_read##n(void *p) { seen(p, n, false, true, true, HERE); }          \
    EXPORT void __tsan_volatile_write##n(void *p) { seen(p, n, true, true, true, HERE); }
#define UNALIGNED(n)                                                                               \
    EXPORT void __tsan_unaligned_read##n(void *p) { seen(p, n, false, false, false, HERE); }       \
    EXPORT void __tsan_unaligned_write##n(void *p) { seen(p, n, true, false, false, HERE); }       \
    EXPORT void __tsan_unaligned_volatile_read##n(void *p) {                                       \
        seen(p, n, false, true, false, HERE);                                                      \
    }                                                                                              \
    EXPORT void __tsan_unaligned_volatile_write##n(void *p) { seen(p, n, true, true, false, HERE); }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)
UNALIGNED(2)
UNALIGNED(4) UNALIGNED(8) UNALIGNED(16) EXPORT void __tsan_read_range(void *p, size_t n) {
    seen(p, n, false, false, false, HERE);
}
EXPORT void __tsan_write_range(void *p, size_t n) { seen(p, n, true, false, false, HERE); }
EXPORT void __tsan_init() {}
EXPORT const char *__ubsan_default_options() { return "abort_on_error=1"; }
