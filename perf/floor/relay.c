/* The floor: an epoll relay that parses nothing. One thread, one upstream connection per downstream connection; what
 * arrives on one side is sent to the other. What a proxy costs above this is what its work costs.
 *   relay LISTEN_PORT UPSTREAM_PORT                                                                                   */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 256 * 1024, DESCRIPTORS = 65536 };

/* One per descriptor: who its other side is, and bytes that the kernel would not take yet. */
struct side { int other; int connecting; char *held; size_t held_bytes; };
static struct side sides[DESCRIPTORS];
static char buffer[BUFFER];
static int epoll_fd;

static void watch(int fd, unsigned events)
{
    struct epoll_event event = { .events = events, .data.fd = fd };
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) && errno == ENOENT)
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void end(int fd)
{
    int other = sides[fd].other;
    free(sides[fd].held);
    free(sides[other].held);
    memset(&sides[fd], 0, sizeof sides[fd]);
    memset(&sides[other], 0, sizeof sides[other]);
    sides[fd].other = sides[other].other = -1;
    close(fd);
    close(other);
}

static void no_delay(int fd) { int on = 1; setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); }

static void accept_all(int listener, const struct sockaddr_in *upstream)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        int other = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (other < 0 || other >= DESCRIPTORS || fd >= DESCRIPTORS) { close(fd); if (other >= 0) close(other); continue; }
        no_delay(fd);
        no_delay(other);
        sides[fd] = (struct side){ .other = other };
        sides[other] = (struct side){ .other = fd, .connecting = 1 };
        connect(other, (const struct sockaddr *)upstream, sizeof *upstream);
        watch(other, EPOLLIN | EPOLLOUT);
        watch(fd, 0);
    }
}

/* Sends what is held for fd; 0 when the connection is over. */
static int flush(int fd)
{
    struct side *side = &sides[fd];
    if (side->held_bytes == 0) return 1;
    ssize_t sent = send(fd, side->held, side->held_bytes, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN;
    side->held_bytes -= (size_t)sent;
    memmove(side->held, side->held + sent, side->held_bytes);
    if (side->held_bytes) return 1;
    free(side->held);
    side->held = NULL;
    watch(fd, EPOLLIN);
    watch(side->other, EPOLLIN);
    return 1;
}

static int pass_on(int fd)
{
    ssize_t got = recv(fd, buffer, BUFFER, 0);
    if (got < 0) return errno == EAGAIN;
    if (got == 0) return 0;
    int other = sides[fd].other;
    ssize_t sent = send(other, buffer, (size_t)got, MSG_NOSIGNAL);
    if (sent < 0) { if (errno != EAGAIN) return 0; sent = 0; }
    if (sent == got) return 1;
    /* The receiver is slower: hold the rest and stop reading from the sender until it is gone. */
    sides[other].held_bytes = (size_t)(got - sent);
    sides[other].held = malloc(sides[other].held_bytes);
    memcpy(sides[other].held, buffer + sent, sides[other].held_bytes);
    watch(other, EPOLLOUT);
    watch(fd, 0);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 3) { fprintf(stderr, "usage: relay LISTEN_PORT UPSTREAM_PORT\n"); return 2; }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1])) };
    struct sockaddr_in upstream = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[2])) };
    address.sin_addr.s_addr = upstream.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) { perror("relay"); return 1; }
    epoll_fd = epoll_create1(0);
    watch(listener, EPOLLIN);
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) { accept_all(listener, &upstream); continue; }
            if (sides[fd].other <= 0) continue;
            int alive = 1;
            if (events[i].events & EPOLLOUT) {
                if (sides[fd].connecting) { sides[fd].connecting = 0; watch(fd, EPOLLIN); watch(sides[fd].other, EPOLLIN); }
                alive = flush(fd);
            }
            if (alive && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) alive = pass_on(fd);
            if (!alive) end(fd);
        }
    }
}
