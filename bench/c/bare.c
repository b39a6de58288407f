/* The smallest server of event streams. All other servers are compared with it.

   One thread and one epoll. It sends each event to each reader at once, with one send(). Of
   HTTP it knows the blank line only. It stores nothing, and drops an event if the socket is
   full. With `batch`, it joins events that arrived together into one send().

       bare PORT PUBLISH_PORT [batch|lossy]

   `lossy` leaves out one event, so that a test can check that the loader finds it. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHANNELS = 10000, DESCRIPTORS = 1 << 20, BUFFER = 1 << 18, FRAME = 1 << 17 };

static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                           "Cache-Control: no-store\r\nConnection: close\r\n\r\n:\n";

static struct { int *fds, count, room; } channels[CHANNELS];
static char publishes[DESCRIPTORS], buffer[BUFFER + 1];
static int poller, batch, lossy;
static long long number;

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(0x7f000001);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (void *)&to, sizeof to) || listen(fd, 4096)) perror("listen"), exit(1);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    return fd;
}

static void accept_from(int listener, int publisher) {
    int one = 1;
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        publishes[fd] = publisher;
        struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    }
}

static void subscribe(int fd, char *request) {
    for (char *c = request; (c = strstr(c, "channel=c")); c++) {
        int n = atoi(c + 9) % CHANNELS;
        if (channels[n].count == channels[n].room) {
            channels[n].room = channels[n].room * 2 + 8;
            channels[n].fds = realloc(channels[n].fds, channels[n].room * sizeof(int));
        }
        channels[n].fds[channels[n].count++] = fd;
    }
    send(fd, HEAD, sizeof HEAD - 1, MSG_NOSIGNAL);
}

static void close_reader(int fd) {
    for (int n = 0; n < CHANNELS && !publishes[fd]; n++)
        for (int i = 0; i < channels[n].count; i++)
            if (channels[n].fds[i] == fd)
                channels[n].fds[i--] = channels[n].fds[--channels[n].count];
    close(fd);
}

static void fan_out(int channel, const char *frame, int size) {
    for (int i = 0; i < channels[channel].count; i++)
        send(channels[channel].fds[i], frame, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Each event is a line with its channel and its data. Keep an incomplete line. */
static int deliver(char *end) {
    static char frames[FRAME];
    int size = 0, channel = 0, before = -1;
    char *line = buffer;
    for (char *stop; (stop = memchr(line, '\n', end - line)); line = stop + 1) {
        channel = atoi(line + 1) % CHANNELS;
        if (size && (!batch || channel != before || size > FRAME / 2)) {
            fan_out(before, frames, size);
            size = 0;
        }
        before = channel;
        if (lossy && ++number == lossy) continue;
        size += sprintf(frames + size, "id: bench-0AbCdEfGh.%.5s\ndata: %.*s\n\n", line,
                        (int)(stop - line - 6), line + 6);
    }
    if (size) fan_out(before, frames, size);
    memmove(buffer, line, end - line);
    return end - line;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    batch = argc > 3 && !strcmp(argv[3], "batch");
    lossy = argc > 3 && !strcmp(argv[3], "lossy") ? 3 : 0;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    poller = epoll_create1(0);
    int streams = listen_on(atoi(argv[1])), feed = listen_on(atoi(argv[2])), incomplete = 0;
    static struct epoll_event found[1024];
    for (;;) {
        int n = epoll_wait(poller, found, 1024, -1);
        for (int i = 0; i < n; i++) {
            int fd = found[i].data.fd;
            if (fd == streams || fd == feed) {
                accept_from(fd, fd == feed);
                continue;
            }
            int have = publishes[fd] ? incomplete : 0;
            char request[8192], *to = publishes[fd] ? buffer + have : request;
            ssize_t got = read(fd, to, publishes[fd] ? BUFFER - have : (int)sizeof request - 1);
            if (got <= 0) {
                close_reader(fd);
                continue;
            }
            to[got] = 0;
            if (publishes[fd]) incomplete = deliver(to + got);
            else subscribe(fd, request);
        }
    }
}
