/* The backend of every scenario: answers at once and thinks as little as possible, so that the proxy is what is measured.
 *   backend H1_PORT H2_PORT TCP_PORT
 * The body of every response has BODY_BYTES bytes (environment; default 1,024, at most 1 MiB).
 * HTTP/1.1: every head that ends is answered, without looking inside it.
 * HTTP/2 (prior knowledge): every HEADERS is answered, without decoding it; windows are respected.
 * TCP: what arrives is discarded in the kernel (MSG_TRUNC).                                                            */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DESCRIPTORS = 65536, READ = 256 * 1024, BODY = 1 << 20, FRAME = 16384 };

struct pending { uint32_t stream; int head_sent; int64_t left; int64_t window; struct pending *next; };
struct connection {
    int kind;                                   /* 1, 2: HTTP version; 3: discard */
    int preface_left;
    int blocked;                                /* waiting for EPOLLOUT */
    int matched;                                /* bytes of CR LF CR LF seen so far (HTTP/1.1) */
    char *in; size_t in_bytes;                  /* an incomplete HTTP/2 frame */
    char *out; size_t out_bytes, out_capacity;
    int64_t window, initial_window;
    struct pending *first, *last;
};
static struct connection *connections[DESCRIPTORS];
static char buffer[READ], body[BODY];
static char h1_response[BODY + 256];
static size_t h1_response_bytes, body_bytes = 1024;
static char h2_head[64]; static size_t h2_head_bytes;
static int epoll_fd;

static void put(struct connection *c, const void *bytes, size_t count)
{
    if (c->out_bytes + count > c->out_capacity) {
        c->out_capacity = (c->out_bytes + count) * 2;
        c->out = realloc(c->out, c->out_capacity);
    }
    memcpy(c->out + c->out_bytes, bytes, count);
    c->out_bytes += count;
}

static int flush(int fd, struct connection *c)
{
    if (c->out_bytes == 0) return 1;
    ssize_t sent = send(fd, c->out, c->out_bytes, MSG_NOSIGNAL);
    if (sent < 0) { if (errno != EAGAIN) return 0; sent = 0; }
    c->out_bytes -= (size_t)sent;
    memmove(c->out, c->out + sent, c->out_bytes);
    if (c->out_bytes == 0 && c->out_capacity > 65536) { free(c->out); c->out = NULL; c->out_capacity = 0; }
    int blocked = c->out_bytes > 0;
    if (blocked == c->blocked) return 1;
    c->blocked = blocked;
    struct epoll_event event = { .events = blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.fd = fd };
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event);
    return 1;
}

static void frame(struct connection *c, size_t length, int type, int flags, uint32_t stream)
{
    unsigned char head[9] = { length >> 16, length >> 8, length, type, flags, stream >> 24, stream >> 16, stream >> 8, stream };
    put(c, head, 9);
}

static void answer(struct connection *c)
{
    struct pending **link = &c->first, *last = NULL;
    while (*link) {
        struct pending *p = *link;
        if (!p->head_sent) { frame(c, h2_head_bytes, 1, 4, p->stream); put(c, h2_head, h2_head_bytes); p->head_sent = 1; }
        while (p->left > 0 && p->window > 0 && c->window > 0) {
            int64_t n = p->left;
            if (n > FRAME) n = FRAME;
            if (n > p->window) n = p->window;
            if (n > c->window) n = c->window;
            p->left -= n; p->window -= n; c->window -= n;
            frame(c, (size_t)n, 0, p->left == 0, p->stream);
            put(c, body, (size_t)n);
        }
        if (p->left == 0) { *link = p->next; free(p); } else { last = p; link = &p->next; }
    }
    c->last = last;
}

static uint32_t read32(const unsigned char *b) { return (uint32_t)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3]; }

static void on_frame(struct connection *c, const unsigned char *f, size_t length)
{
    int type = f[3], flags = f[4];
    uint32_t stream = read32(f + 5) & 0x7fffffff;
    const unsigned char *payload = f + 9;
    switch (type) {
    case 1: case 0:
        if (!(flags & 1)) break;
        struct pending *p = calloc(1, sizeof *p);
        *p = (struct pending){ .stream = stream, .left = (int64_t)body_bytes, .window = c->initial_window };
        if (c->last) c->last->next = p; else c->first = p;
        c->last = p;
        break;
    case 4:
        if (flags & 1) break;
        for (size_t i = 0; i + 6 <= length; i += 6)
            if (payload[i] == 0 && payload[i + 1] == 4) {
                int64_t window = read32(payload + i + 2);
                for (struct pending *q = c->first; q; q = q->next) q->window += window - c->initial_window;
                c->initial_window = window;
            }
        frame(c, 0, 4, 1, 0);
        break;
    case 6:
        if (!(flags & 1)) { frame(c, 8, 6, 1, 0); put(c, payload, 8); }
        break;
    case 8:
        if (stream == 0) c->window += read32(payload) & 0x7fffffff;
        else for (struct pending *q = c->first; q; q = q->next) if (q->stream == stream) q->window += read32(payload) & 0x7fffffff;
        break;
    case 3:
        for (struct pending *q = c->first; q; q = q->next) if (q->stream == stream) q->left = 0;
        break;
    }
}

static void on_h2(struct connection *c, const char *bytes, size_t count)
{
    if (c->preface_left) {
        size_t skip = count < (size_t)c->preface_left ? count : (size_t)c->preface_left;
        c->preface_left -= (int)skip; bytes += skip; count -= skip;
        if (c->preface_left == 0) {
            static const unsigned char settings[] = { 0, 3, 0, 0, 4, 0 };   /* 1,024 streams */
            frame(c, 6, 4, 0, 0); put(c, settings, 6);
        }
    }
    c->in = realloc(c->in, c->in_bytes + count + 1);
    memcpy(c->in + c->in_bytes, bytes, count);
    c->in_bytes += count;
    size_t at = 0, received = 0;
    while (c->in_bytes - at >= 9) {
        const unsigned char *f = (unsigned char *)c->in + at;
        size_t length = (size_t)f[0] << 16 | f[1] << 8 | f[2];
        if (c->in_bytes - at < 9 + length) break;
        if (f[3] == 0) received += length;
        on_frame(c, f, length);
        at += 9 + length;
    }
    if (received) { unsigned char more[4] = { received >> 24, received >> 16, received >> 8, received }; frame(c, 4, 8, 0, 0); put(c, more, 4); }
    c->in_bytes -= at;
    memmove(c->in, c->in + at, c->in_bytes);
    answer(c);
}

static int on_h1(struct connection *c, const char *bytes, size_t count)
{
    static const char end[] = "\r\n\r\n";
    for (size_t i = 0; i < count; i++) {
        c->matched = bytes[i] == end[c->matched] ? c->matched + 1 : bytes[i] == '\r';
        if (c->matched == 4) { c->matched = 0; put(c, h1_response, h1_response_bytes); }
    }
    return 1;
}

static int listen_on(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) { perror("backend"); exit(1); }
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    return fd;
}

static void end_connection(int fd, struct connection *c)
{
    while (c->first) { struct pending *p = c->first; c->first = p->next; free(p); }
    free(c->in); free(c->out); free(c);
    connections[fd] = NULL;
    close(fd);
}

int main(int argc, char **argv)
{
    if (argc != 4) { fprintf(stderr, "usage: [BODY_BYTES=N] backend H1_PORT H2_PORT TCP_PORT\n"); return 2; }
    if (getenv("BODY_BYTES")) body_bytes = (size_t)atol(getenv("BODY_BYTES"));
    if (body_bytes > BODY) body_bytes = BODY;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    memset(body, 'x', sizeof body);
    h1_response_bytes = (size_t)sprintf(h1_response,
        "HTTP/1.1 200 OK\r\nserver: backend\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-type: text/plain\r\ncontent-length: %zu\r\n\r\n", body_bytes);
    memcpy(h1_response + h1_response_bytes, body, body_bytes);
    h1_response_bytes += body_bytes;
    /* :status 200 (indexed 8); content-length (name 28) and content-type (name 31), literals without indexing. */
    char digits[24]; int n = sprintf(digits, "%zu", body_bytes);
    char *h = h2_head;
    *h++ = (char)0x88;
    *h++ = 0x0f; *h++ = 28 - 15; *h++ = (char)n; memcpy(h, digits, (size_t)n); h += n;
    *h++ = 0x0f; *h++ = 31 - 15; *h++ = 10; memcpy(h, "text/plain", 10); h += 10;
    h2_head_bytes = (size_t)(h - h2_head);

    epoll_fd = epoll_create1(0);
    int listeners[3];
    for (int i = 0; i < 3; i++) listeners[i] = listen_on(atoi(argv[i + 1]));
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd, kind = 0;
            for (int k = 0; k < 3; k++) if (fd == listeners[k]) kind = k + 1;
            if (kind) {
                int accepted;
                while ((accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (accepted >= DESCRIPTORS) { close(accepted); continue; }
                    int on = 1;
                    setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    struct connection *c = calloc(1, sizeof *c);
                    *c = (struct connection){ .kind = kind, .preface_left = 24, .window = 65535, .initial_window = 65535 };
                    connections[accepted] = c;
                    struct epoll_event event = { .events = EPOLLIN, .data.fd = accepted };
                    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, accepted, &event);
                }
                continue;
            }
            struct connection *c = connections[fd];
            if (!c) continue;
            ssize_t got = recv(fd, buffer, READ, c->kind == 3 ? MSG_TRUNC : 0);
            if (got == 0 || (got < 0 && errno != EAGAIN)) { end_connection(fd, c); continue; }
            if (got > 0 && c->kind == 1) on_h1(c, buffer, (size_t)got);
            if (got > 0 && c->kind == 2) on_h2(c, buffer, (size_t)got);
            if (!flush(fd, c)) end_connection(fd, c);
        }
    }
}
