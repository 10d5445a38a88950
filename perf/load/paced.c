/* Open loop: requests leave at a fixed rate whatever the answers do, and latency counts from the moment a request was meant to
 * leave. A proxy that stalls is charged for everything it kept waiting (no coordinated omission).
 *   paced PROXY_PORT BACKEND_PORT RATE SECONDS CONNECTIONS BODY_BYTES
 * It is client and backend at once: one thread that never sleeps, so that nothing but the proxy has to be woken on a request's way,
 * and no scheduler stands between the two ends it plays. As root it goes before all else on its CPU, with its memory locked (not with PACED_FIRST=0).
 * HTTP/1.1 with keep-alive. A request whose moment has come takes an idle connection; with none idle it waits, and its waiting counts.
 * The first second is a warm-up at the same rate. RATE 0 is a closed loop for SECONDS: how many can the proxy answer?
 *
 * Prints: answered seconds first late_p50 late_p99 p50 p90 p99 p99.9 max (µs; answered and seconds with the warm-up). "late" is the
 * generator's own part of a latency at most, request by request: it left after its moment, lay unread at the backend, its answer lay
 * unread here. When late_p99 is of the order of p99, the generator was measured and not the proxy.                             */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 10000, UPSTREAMS = 16384, BODY = 8192, EVENTS = 8 };
enum kind { LISTENER, CLIENT, UPSTREAM };
static const int64_t SECOND = 1000000000, PATIENCE = 5 * SECOND, WARM_UP = SECOND;

struct client { int fd, busy; int64_t meant, late, left; char head[4096]; size_t head_bytes; };
struct upstream { int fd, matched, fresh; };

/* The digits tell the backend whose request it reads. */
static char request[] = "GET /measured/path?with=0000 HTTP/1.1\r\nhost: localhost\r\nuser-agent: paced\r\naccept: */*\r\nx-team: payments\r\n\r\n";
enum { DIGITS_AT = 24, DIGITS = 4 };

static struct client *clients;
static struct upstream upstreams[UPSTREAMS];
static int *idle, idle_count, client_count, epoll_fd, upstream_count;
static char scratch[1 << 18], response[BODY + 256];
static size_t response_bytes;

static double rate;
static int64_t begun, ends, sent, answered, to_send, skip, polled_ns, free_since, counted;
static uint32_t *latencies, *lates;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

static void fail(const char *what) { fprintf(stderr, "paced: %s\n", what); exit(1); }

static void watch(int fd, enum kind kind, int index)
{
    struct epoll_event event = { .events = EPOLLIN, .data.u64 = (uint64_t)kind << 32 | (uint32_t)index };
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

static enum kind kind_of(struct epoll_event event) { return (enum kind)(event.data.u64 >> 32); }
static int index_of(struct epoll_event event) { return (int)(uint32_t)event.data.u64; }

/* ---- the client ---------------------------------------------------------------------------------------------------- */

static int64_t meant_at(int64_t index) { return begun + (int64_t)((double)index * 1e9 / rate); }

/* Everything whose moment has come. */
static void send_due(void)
{
    while (sent < to_send && idle_count > 0) {
        int64_t now = now_ns(), meant = rate > 0 ? meant_at(sent) : now;
        if (meant > now || (rate <= 0 && now >= ends)) return;
        int index = idle[--idle_count];
        struct client *c = &clients[index];
        c->busy = 1; c->meant = meant; c->left = -1; c->head_bytes = 0;
        for (int digit = DIGITS - 1, rest = index; digit >= 0; digit--, rest /= 10) request[DIGITS_AT + digit] = (char)('0' + rest % 10);
        /* While all connections are busy it is the proxy that makes the next one late. */
        c->late = now - (meant > free_since ? meant : free_since);
        if (send(c->fd, request, sizeof request - 1, MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof request - 1) fail("a request could not be sent");
        sent++;
    }
}

/* 1 when the answer is complete. */
static int take(struct client *c)
{
    for (;;) {
        ssize_t got = recv(c->fd, scratch, sizeof scratch, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN) return 0;
        if (got <= 0) fail("the proxy ended a connection");
        if (c->left < 0) {
            size_t room = sizeof c->head - 1 - c->head_bytes, n = (size_t)got < room ? (size_t)got : room;
            memcpy(c->head + c->head_bytes, scratch, n);
            c->head_bytes += n;
            c->head[c->head_bytes] = 0;
            char *end = strstr(c->head, "\r\n\r\n");
            if (!end) { if (n < (size_t)got) fail("an answer's head is too long"); continue; }
            char *length = strcasestr(c->head, "\r\ncontent-length:");
            if (!length || length > end || strncmp(c->head + 9, "200", 3)) fail("an answer was not 200 with a length");
            int64_t body_here = (int64_t)c->head_bytes - (end + 4 - c->head) + (got - (ssize_t)n);
            c->left = atoll(length + 17) - body_here;
        } else {
            c->left -= got;
        }
        if (c->left < 0) fail("an answer was longer than it said");
        if (c->left == 0) return 1;
    }
}

static uint32_t narrow(int64_t ns) { return ns < 0 ? 0 : ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns; }

static void on_answer(int index, int64_t unread_since)
{
    struct client *c = &clients[index];
    if (!c->busy) fail("the proxy ended an idle connection");
    if (!take(c)) return;
    int64_t now = now_ns();
    c->busy = 0;
    if (idle_count == 0) free_since = now;
    idle[idle_count++] = index;
    answered++;
    if (rate > 0 && c->meant >= meant_at(skip)) {
        latencies[counted] = narrow(now - c->meant);
        lates[counted++] = narrow(c->late + now - unread_since);
    }
}

/* ---- the backend --------------------------------------------------------------------------------------------------- */

static void on_upstream(int index, int64_t unread_since)
{
    static const char end[] = "\r\n\r\n";
    struct upstream *u = &upstreams[index];
    ssize_t got = recv(u->fd, scratch, sizeof scratch, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) { close(u->fd); u->fd = -1; return; }
    for (ssize_t i = 0; i < got; i++) {
        if (u->fresh) {
            u->fresh = 0;
            if (i + DIGITS_AT + DIGITS <= got) {
                int client = 0;
                for (int digit = 0; digit < DIGITS; digit++) client = client * 10 + (scratch[i + DIGITS_AT + digit] - '0');
                if (client >= 0 && client < client_count && clients[client].busy) clients[client].late += now_ns() - unread_since;
            }
        }
        u->matched = scratch[i] == end[u->matched] ? u->matched + 1 : scratch[i] == '\r';
        if (u->matched < 4) continue;
        u->matched = 0; u->fresh = 1;
        if (send(u->fd, response, response_bytes, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)response_bytes) fail("a response could not be sent");
    }
}

static void on_accept(int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (upstream_count == UPSTREAMS) fail("the proxy opened too many connections to the backend");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        upstreams[upstream_count] = (struct upstream){ .fd = fd, .fresh = 1 };
        watch(fd, UPSTREAM, upstream_count++);
    }
}

/* ---- both ---------------------------------------------------------------------------------------------------------- */

static int listen_on(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) fail("the backend's port is taken");
    watch(fd, LISTENER, fd);
    return fd;
}

static void connect_all(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    for (int i = 0; i < client_count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
        if (connect(fd, (struct sockaddr *)&address, sizeof address)) fail("the proxy does not accept");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        clients[i].fd = fd;
        watch(fd, CLIENT, i);
        idle[idle_count++] = i;
    }
}

/* Nothing of this machine comes between its turns: the others of its CPU wait, and there is no page to wait for. Not a real-time task: of one that never sleeps the
 * kernel takes 50 ms of every second for the others, and those were the p99. With one CPU the proxy needs it too. */
static int go_first(void)
{
    const char *wish = getenv("PACED_FIRST");
    if (wish && strcmp(wish, "0") == 0) return 0;
    mlockall(MCL_CURRENT | MCL_FUTURE);
    return sysconf(_SC_NPROCESSORS_ONLN) > 1 && setpriority(PRIO_PROCESS, 0, -20) == 0;
}

static void run(int one_cpu)
{
    polled_ns = now_ns();
    while (answered < to_send) {
        send_due();
        if (polled_ns > ends + PATIENCE || (rate <= 0 && polled_ns >= ends && answered == sent)) return;
        struct epoll_event events[EVENTS];
        /* What this poll finds may have come right after the last one. */
        int64_t unread_since = polled_ns;
        int ready = epoll_wait(epoll_fd, events, EVENTS, 0);
        polled_ns = now_ns();
        if (ready == 0 && one_cpu) sched_yield();
        /* Answers first: to take one costs a tenth of sending something, which runs through the kernel to the proxy's wake-up. */
        for (int i = 0; i < ready; i++)
            if (kind_of(events[i]) == CLIENT) on_answer(index_of(events[i]), unread_since);
        send_due();
        for (int i = 0; i < ready; i++) {
            if (kind_of(events[i]) == CLIENT) continue;
            if (kind_of(events[i]) == LISTENER) on_accept(index_of(events[i])); else on_upstream(index_of(events[i]), unread_since);
            send_due();
        }
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile(const uint32_t *sorted, double at)
{
    int64_t index = (int64_t)(at * (double)counted);
    return counted ? sorted[index < counted ? index : counted - 1] / 1e3 : 0;
}

int main(int argc, char **argv)
{
    if (argc != 7) { fprintf(stderr, "usage: paced PROXY_PORT BACKEND_PORT RATE SECONDS CONNECTIONS BODY_BYTES\n"); return 2; }
    rate = atof(argv[3]);
    int64_t duration = (int64_t)(atof(argv[4]) * 1e9) + WARM_UP;
    int body = atoi(argv[6]);
    client_count = atoi(argv[5]);
    if (client_count < 1 || client_count > CLIENTS || body < 0 || body > BODY || rate < 0) fail("at most 10,000 connections, and bodies of 8 KiB");
    response_bytes = (size_t)sprintf(response, "HTTP/1.1 200 OK\r\nserver: backend\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-type: text/plain\r\n"
        "content-length: %d\r\n\r\n", body);
    memset(response + response_bytes, 'x', (size_t)body);
    response_bytes += (size_t)body;
    skip = (int64_t)(rate * (double)WARM_UP / 1e9);
    to_send = rate > 0 ? (int64_t)(rate * (double)duration / 1e9) : INT64_MAX;
    size_t capacity = rate > 0 ? (size_t)to_send + 1 : 1;
    clients = calloc((size_t)client_count, sizeof *clients);
    idle = calloc((size_t)client_count, sizeof *idle);
    latencies = calloc(capacity, sizeof *latencies);
    lates = calloc(capacity, sizeof *lates);
    if (!clients || !idle || !latencies || !lates) fail("no memory");

    epoll_fd = epoll_create1(0);
    listen_on(atoi(argv[2]));
    connect_all(atoi(argv[1]));
    int first = go_first();
    begun = now_ns() + SECOND / 1000;
    ends = begun + duration;
    run(sysconf(_SC_NPROCESSORS_ONLN) < 2);
    double seconds = (double)(now_ns() - begun) / 1e9;

    qsort(latencies, (size_t)counted, sizeof *latencies, by_value);
    qsort(lates, (size_t)counted, sizeof *lates, by_value);
    printf("%lld %.3f %d %.1f %.1f", (long long)answered, seconds, first, percentile(lates, 0.5), percentile(lates, 0.99));
    for (int i = 0; i < 5; i++) printf(" %.1f", percentile(latencies, (double[]){ 0.5, 0.9, 0.99, 0.999, 1.0 }[i]));
    printf("\n");
    return answered == sent ? 0 : 1;
}
