/* Open loop: requests leave at a fixed rate whatever the answers do, and latency counts from the moment a request was meant to
 * leave. A proxy that stalls is charged for everything it kept waiting (no coordinated omission).
 *   paced PORT RATE SECONDS CONNECTIONS
 * HTTP/1.1 with keep-alive. A request whose moment has come takes an idle connection; with none idle it waits, and its waiting counts.
 * Prints: sent answered late_max_us p50 p90 p99 p99.9 max (µs). late_max is how much later than meant the generator itself woke at
 * worst with a connection idle: when it is of the order of the percentiles, the generator was the limit and not the proxy.        */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct connection { int fd; int busy; int64_t meant; int64_t left; char head[4096]; size_t head_bytes; };

static const char request[] = "GET /measured/path?with=query HTTP/1.1\r\nhost: localhost\r\nuser-agent: paced\r\naccept: */*\r\nx-team: payments\r\n\r\n";
static char scratch[1 << 18];

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* 1 when the answer is complete; -1 when the connection failed. */
static int take(struct connection *c)
{
    for (;;) {
        ssize_t got = recv(c->fd, scratch, sizeof scratch, MSG_DONTWAIT);
        if (got < 0) return errno == EAGAIN ? 0 : -1;
        if (got == 0) return -1;
        if (c->left < 0) {
            size_t room = sizeof c->head - 1 - c->head_bytes, n = (size_t)got < room ? (size_t)got : room;
            memcpy(c->head + c->head_bytes, scratch, n);
            c->head_bytes += n;
            c->head[c->head_bytes] = 0;
            char *end = strstr(c->head, "\r\n\r\n");
            if (!end) continue;
            char *length = strcasestr(c->head, "\r\ncontent-length:");
            if (!length || length > end || strncmp(c->head + 9, "200", 3)) return -1;
            int64_t body_here = (int64_t)c->head_bytes - (end + 4 - c->head) + (got - (ssize_t)n);
            c->left = atoll(length + 17) - body_here;
        } else {
            c->left -= got;
        }
        if (c->left == 0) return 1;
        if (c->left < 0) return -1;
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    if (argc != 5) { fprintf(stderr, "usage: paced PORT RATE SECONDS CONNECTIONS\n"); return 2; }
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    double rate = atof(argv[2]);
    int64_t total = (int64_t)(rate * atof(argv[3]));
    int count = atoi(argv[4]), epoll_fd = epoll_create1(0), idle_count = 0;
    struct connection *connections = calloc((size_t)count, sizeof *connections);
    int *idle = calloc((size_t)count, sizeof *idle);
    uint32_t *latencies = calloc((size_t)total + 1, sizeof *latencies);
    for (int i = 0; i < count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
        if (connect(fd, (struct sockaddr *)&address, sizeof address)) { perror("paced"); return 1; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connections[i].fd = fd;
        struct epoll_event event = { .events = EPOLLIN, .data.u32 = (uint32_t)i };
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
        idle[idle_count++] = i;
    }
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct epoll_event event = { .events = EPOLLIN, .data.u32 = UINT32_MAX };
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer, &event);

    int64_t begun = now_ns() + 1000000, sent = 0, answered = 0, late_max = 0, give_up = begun + (int64_t)(atof(argv[3]) * 1e9) + 5000000000;
    while (answered < total) {
        int64_t now = now_ns();
        if (now > give_up) break;
        /* Everything whose moment has come. */
        while (sent < total && idle_count > 0) {
            int64_t meant = begun + (int64_t)((double)sent * 1e9 / rate);
            if (meant > now) break;
            struct connection *c = &connections[idle[--idle_count]];
            *c = (struct connection){ .fd = c->fd, .busy = 1, .meant = meant, .left = -1 };
            if (send(c->fd, request, sizeof request - 1, MSG_NOSIGNAL) != sizeof request - 1) { perror("paced: send"); return 1; }
            if (idle_count > 0 && now - meant > late_max) late_max = now - meant;
            sent++;
        }
        if (sent < total && idle_count > 0) {
            int64_t next = begun + (int64_t)((double)sent * 1e9 / rate);
            struct itimerspec when = { .it_value = { next / 1000000000, next % 1000000000 } };
            timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
        }
        struct epoll_event events[256];
        int ready = epoll_wait(epoll_fd, events, 256, 1000);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.u32 == UINT32_MAX) {
                uint64_t ticks;
                if (read(timer, &ticks, sizeof ticks) < 0) { }
                continue;
            }
            struct connection *c = &connections[events[i].data.u32];
            int done = c->busy ? take(c) : -1;
            if (done < 0) { fprintf(stderr, "paced: a connection ended or an answer was not 200\n"); return 1; }
            if (done == 0) continue;
            c->busy = 0;
            latencies[answered++] = (uint32_t)((now_ns() - c->meant) / 1000);
            idle[idle_count++] = (int)events[i].data.u32;
        }
    }
    qsort(latencies, (size_t)answered, sizeof *latencies, by_value);
    double at[] = { 0.5, 0.9, 0.99, 0.999, 1.0 };
    printf("%lld %lld %lld", (long long)sent, (long long)answered, (long long)(late_max / 1000));
    for (int i = 0; i < 5; i++) {
        int64_t index = (int64_t)(at[i] * (double)answered);
        printf(" %u", answered ? latencies[index < answered ? index : answered - 1] : 0);
    }
    printf("\n");
    return answered == total ? 0 : 1;
}
