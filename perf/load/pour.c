/* Sends BYTES through a port, says it is done sending, and waits until the other side has closed too; prints seconds.
 *   pour PORT BYTES                                                                                                   */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char block[1 << 20];

int main(int argc, char **argv)
{
    if (argc != 3) { fprintf(stderr, "usage: pour PORT BYTES\n"); return 2; }
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    long long left = atoll(argv[2]);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) { perror("pour"); return 1; }
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    while (left > 0) {
        ssize_t sent = send(fd, block, left < (long long)sizeof block ? (size_t)left : sizeof block, MSG_NOSIGNAL);
        if (sent < 0) { perror("pour"); return 1; }
        left -= sent;
    }
    shutdown(fd, SHUT_WR);
    while (recv(fd, block, sizeof block, 0) > 0) { }
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.6f\n", (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
    return 0;
}
