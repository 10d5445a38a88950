// Handshakes, one after the other for some seconds, each with a client certificate, one request and its answer:
//   shake PORT SECONDS CERT KEY CA resumed|full
// Prints how many were complete, and how many of them were resumed.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static SSL_SESSION *s_session;

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    SSL_SESSION_free(s_session);
    s_session = session;
    return 1;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc != 7)
        return 2;
    int resume = strcmp(argv[6], "resumed") == 0;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set1_groups_list(ctx, "X25519");
    if (SSL_CTX_use_certificate_chain_file(ctx, argv[3]) != 1 || SSL_CTX_use_PrivateKey_file(ctx, argv[4], SSL_FILETYPE_PEM) != 1
        || SSL_CTX_load_verify_file(ctx, argv[5]) != 1)
        return 2;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_session);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *request = "GET /measured HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    static char buffer[65536];
    long complete = 0, resumed = 0;
    for (double end = now() + atof(argv[2]); now() < end;) {
        int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        SSL *ssl = SSL_new(ctx);
        SSL_set_fd(ssl, fd);
        if (resume && s_session)
            SSL_set_session(ssl, s_session);
        int got = 0, total = 0;
        if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && SSL_connect(ssl) == 1 && SSL_write(ssl, request, strlen(request)) > 0) {
            while ((got = SSL_read(ssl, buffer, sizeof buffer)) > 0) {
                if (total == 0 && strncmp(buffer, "HTTP/1.1 200", 12) != 0)
                    break;
                total += got;
            }
            complete += total > 0;
            resumed += total > 0 && SSL_session_reused(ssl);
        }
        SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(ssl);
        close(fd);
        if (total == 0)
            return 1;
    }
    printf("%ld %ld\n", complete, resumed);
    return 0;
}
