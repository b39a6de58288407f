/* Holds many event streams, publishes to them, and checks and counts what arrives.

   A line on its standard input is a command, and a line of JSON on its output the answer.
   Whatever a server wraps an event in, the data holds a record that is found by its mark:

       @@<channel, 4 digits>.<number on the channel, 9>.<nanoseconds, 16>xxx...

   so order, doubles, loss and latency show, and nothing of the server's format matters.
   It publishes itself, since only it knows what has arrived: at most `window` events are
   under way at once. Without that, some servers queue without bound and others drop. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { RECORD = 33, BUFFER = 1 << 18, PORTS = 20000, PUBLISHERS = 16 };
enum { CLOSED, ASKED, OPEN, REFUSED };

struct reader {
    int fd, first;        /* its channels are `first` and those after it */
    char state, paused, heard;
    int carried;          /* bytes of a record that was cut */
    char carry[RECORD];
    int *last;            /* the number seen last, on each of its channels */
    int retry, begun;     /* when to come back, in milliseconds; bytes of this stream */
    long long due;
};

struct publisher {
    int fd, busy, size;
    char reply[8192];
};

static struct {
    int port, publish_port, channels, per, size, publishers, batch;
    const char *request, *join, *publish, *reply;
} set;

static struct reader *readers;
static int count, asking, opened, heard, paused, refused, dropped, again;
static struct publisher publishers[PUBLISHERS];
static int *sent;         /* events published, by channel */
static int *listening;    /* readers that are open and not paused, by channel */
static int poller, turn;
static char buffer[BUFFER + RECORD], latest_id[200], last_id[200], ticket[4096];
static long long expected, events, bytes, reads, lost, disordered, came;
static long long histogram[64 * 32], samples;

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static double cpu(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec
         + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* A histogram of 32 steps to each doubling: 3 % is as exact as anything here. */
static void sample(long long ns) {
    if (ns < 32) ns = 32;
    int high = 63 - __builtin_clzll(ns);
    histogram[high * 32 + ((ns >> (high - 5)) & 31)]++;
    samples++;
}

static double quantile(double q) {
    long long upto = samples * q, sum = 0;
    for (int i = 0; i < 64 * 32; i++)
        if ((sum += histogram[i]) > upto)
            return ((32LL + i % 32) << (i / 32 - 5)) / 1e6;
    return 0;
}

static int connect_to(int port, int number) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0) die("socket");
    /* An address has some 28,000 ports: further readers come from the next one, and each
       loader has addresses of its own. */
    struct sockaddr_in from = {.sin_family = AF_INET}, to = from;
    from.sin_addr.s_addr = htonl(0x7f000002 + getpid() % 60000 * 256 + number / PORTS);
    to.sin_addr.s_addr = htonl(0x7f000001);
    to.sin_port = htons(port);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(fd, (void *)&from, sizeof from)) die("bind");
    if (connect(fd, (void *)&to, sizeof to) && errno != EINPROGRESS) die("connect");
    return fd;
}

static void watch(int fd, uint32_t mask, int operation, uint64_t key) {
    struct epoll_event e = {.events = mask, .data.u64 = key};
    if (epoll_ctl(poller, operation, fd, &e)) die("epoll_ctl");
}

/* Copy a template: %C is the channels, %D the data, a line with channel and data for each
   event if it is a batch, %I the position to resume at, and the ticket. */
static int fill(char *to, const char *from, int channel, int per, const char *data) {
    char *start = to;
    for (; *from; from++) {
        if (*from != '%' || !strchr("CDI", from[1])) {
            *to++ = *from;
            continue;
        }
        if (*++from == 'C')
            for (int i = 0; i < per; i++)
                to += sprintf(to, "%sc%04d", i ? set.join : "", (channel + i) % set.channels);
        else if (*from == 'D')
            to = stpcpy(to, data);
        else if (*last_id)
            to += sprintf(to, "Last-Event-ID: %s\r\n%s", last_id, ticket);
    }
    return to - start;
}

/* Readers. */

static void take(struct reader *r, const char *record, long long when) {
    char field[20] = "";
    int channel = atoi(memcpy(field, record + 2, 4));
    memset(field, 0, sizeof field);
    int number = atoi(memcpy(field, record + 7, 9));
    memset(field, 0, sizeof field);
    long long stamp = atoll(memcpy(field, record + 17, 16));
    int slot = (channel - r->first + set.channels) % set.channels;
    if (slot >= set.per) {
        disordered++;
        return;
    }
    int *last = &r->last[slot];
    if (!r->heard) {
        r->heard = 1;
        heard++;
    }
    if (*last && number <= *last) {
        disordered++;
        return;
    }
    if (*last) lost += number - *last - 1;
    *last = number;
    events++;
    sample(when - stamp);
}

/* The id is the same for all who are at the same place: any reader's will do. */
static void note_id(const char *from, const char *end) {
    const char *id = NULL, *line = from;
    while ((line = memmem(line, end - line, "id: ", 4))) id = line += 4;
    const char *stop = id ? memchr(id, '\n', end - id) : NULL;
    if (stop && stop - id < (int)sizeof latest_id) {
        memcpy(latest_id, id, stop - id);
        latest_id[stop - id - (stop[-1] == '\r')] = 0;
    }
}

/* And so is a ticket to return with, where all ask for the same. */
static void note_ticket(const char *from, const char *end) {
    const char *start = memmem(from, end - from, "push_ticket=", 12);
    const char *stop = start ? memchr(start, ';', end - start) : NULL;
    if (stop && stop - start < (int)sizeof ticket - 20)
        sprintf(ticket, "Cookie: %.*s\r\n", (int)(stop - start), start);
}

/* The server says when to come back among the first that it says, or as its last word. */
static void note_retry(struct reader *r, const char *from, const char *end) {
    const char *retry = memmem(from, end - from, "retry: ", 7);
    if (retry) r->retry = atoi(retry + 7);
    r->begun += end - from;
}

/* A reader begins to listen to its channels, or ends: `change` is 1 or -1. */
static void count_in(struct reader *r, int change) {
    for (int i = 0; i < set.per; i++) listening[(r->first + i) % set.channels] += change;
}

static void gone(struct reader *r) {
    if (r->state == OPEN) {
        opened--, dropped++;
        if (!r->paused) count_in(r, -1);
    }
    else asking--, refused++;
    r->state = REFUSED;
    close(r->fd);
}

static void hear(struct reader *r) {
    if (r->state == REFUSED) return;
    memcpy(buffer, r->carry, r->carried);
    ssize_t n = read(r->fd, buffer + r->carried, BUFFER);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) gone(r);
        return;
    }
    long long when = now();
    char *p = buffer, *end = buffer + r->carried + n;
    bytes += n, reads++, r->carried = 0;
    if (r->state == ASKED) {
        if (n < 12 || memcmp(buffer + 8, " 200", 4)) {
            gone(r);
            return;
        }
        r->state = OPEN;
        asking--, opened++, came = when;
        count_in(r, 1);
        if (r == readers) note_ticket(p, end);
    }
    if (r == readers) note_id(p, end);
    if (r->begun < 1000 || n < 40) note_retry(r, p, end);
    while ((p = memchr(p, '@', end - p))) {
        if (end - p < RECORD) {
            r->carried = end - p;
            memcpy(r->carry, p, r->carried);
            return;
        }
        if (p[1] == '@') take(r, p, when), p += RECORD;
        else p++;
    }
}

static void ask(int i) {
    struct reader *r = readers + i;
    r->fd = connect_to(set.port, i);
    r->state = ASKED;
    r->carried = r->begun = 0;
    asking++;
    watch(r->fd, EPOLLOUT, EPOLL_CTL_ADD, i);
}

static void asked(int i) {
    static char request[BUFFER];
    int size = fill(request, set.request, readers[i].first, set.per, "");
    if (write(readers[i].fd, request, size) != size) gone(readers + i);
    else watch(readers[i].fd, EPOLLIN, EPOLL_CTL_MOD, i);
}

/* Publishers. */

static int complete(struct publisher *p) {
    if (*set.reply == 'l') return p->size && p->reply[p->size - 1] == '\n';
    p->reply[p->size] = 0;
    char *body = strstr(p->reply, "\r\n\r\n");
    if (!body) return 0;
    if (p->size > 12 && p->reply[9] != '2') {
        fprintf(stderr, "publishing failed: %.400s\n", p->reply);
        exit(1);
    }
    char *length = strcasestr(p->reply, "\r\nContent-Length:");
    if (length && length < body) return p->reply + p->size - body - 4 >= atoi(length + 17);
    if (strcasestr(p->reply, "chunked")) return !!strstr(body, "0\r\n\r\n");
    return !strncmp(p->reply + 9, "204", 3);
}

static void replied(struct publisher *p) {
    ssize_t n = read(p->fd, p->reply + p->size, sizeof p->reply - 1 - p->size);
    if (n <= 0) {
        if (n && errno == EAGAIN) return;
        close(p->fd);
        p->fd = 0;
    } else
        p->size += n;
    if (n <= 0 || complete(p)) p->busy = p->size = 0;
}

/* How many readers an event has, on average over the channels. */
static long long audience(void) {
    return (long long)(opened - paused) * set.per / set.channels;
}

static int say(void) {
    static char message[BUFFER], data[BUFFER];
    int channel = turn % set.channels;
    struct publisher *p = publishers + channel % set.publishers;
    if (p->busy) return 0;
    if (!p->fd) {
        p->fd = connect_to(set.publish_port, 0);
        watch(p->fd, EPOLLIN, EPOLL_CTL_ADD, UINT32_MAX - (p - publishers));
        struct epoll_event e = {.events = EPOLLOUT};
        int wait = epoll_create1(0);
        epoll_ctl(wait, EPOLL_CTL_ADD, p->fd, &e);
        epoll_wait(wait, &e, 1, 5000);
        close(wait);
    }
    int n = 0;
    for (int i = 0; i < set.batch; i++, channel = ++turn % set.channels) {
        if (set.batch > 1) n += sprintf(data + n, "c%04d ", channel);
        int start = n;
        n += sprintf(data + n, "@@%04d.%09d.%016lld", channel, ++sent[channel], now());
        expected += listening[channel];
        memset(data + n, 'x', set.size - (n - start));
        n = start + set.size;
        if (set.batch > 1) data[n++] = '\n';
    }
    data[n] = 0;
    int size = fill(message, set.publish, (turn - 1) % set.channels, 1, data);
    for (int done = 0; done < size;) {
        ssize_t written = write(p->fd, message + done, size - done);
        if (written > 0) done += written;
        else if (errno != EAGAIN) die("publish");
    }
    p->busy = *set.reply != '-';
    return 1;
}

static int busy(void) {
    for (int i = 0; i < set.publishers; i++)
        if (publishers[i].busy) return 1;
    return 0;
}

static void step(int milliseconds) {
    static struct epoll_event found[1024];
    int n = epoll_wait(poller, found, 1024, milliseconds);
    for (int i = 0; i < n; i++) {
        uint64_t key = found[i].data.u64;
        if (key >= (uint64_t)count) replied(publishers + (UINT32_MAX - key));
        else if (found[i].events & EPOLLIN) hear(readers + key);
        else if (found[i].events & EPOLLOUT) asked(key);
        else gone(readers + key);
    }
}

/* Commands. */

static void begin(void) {
    expected = events = bytes = reads = lost = disordered = samples = 0;
    refused = dropped = again = 0;
    memset(histogram, 0, sizeof histogram);
}

static void tell(long long start, double before, int messages) {
    printf("{\"seconds\": %.6f, \"cpu\": %.6f, \"open\": %d, \"refused\": %d, \"dropped\": %d,"
           " \"again\": %d, \"messages\": %d, \"events\": %lld, \"bytes\": %lld, \"reads\": %lld,"
           " \"lost\": %lld, \"missing\": %lld, \"disordered\": %lld,"
           " \"p50\": %.4f, \"p99\": %.4f, \"p999\": %.4f}\n",
           (now() - start) / 1e9, cpu() - before, opened, refused, dropped, again, messages, events,
           bytes, reads, lost, expected > events + lost ? expected - events - lost : 0,
           disordered, quantile(.5), quantile(.99), quantile(.999));
    fflush(stdout);
}

/* Come (again) with `number` readers in all, `most` of them asking at once. */
static void come(int number, int most, double seconds) {
    long long start = now(), end = start + seconds * 1e9;
    double before = cpu();
    begin();
    int next = 0;
    while (now() < end && (asking || next < number)) {
        for (; next < number && asking < most; next++)
            if (readers[next].state == CLOSED) ask(next);
        step(10);
    }
    tell(start, before, 0);
}

/* Come back with `number` readers as browsers do: each when it was told to, and again if
   it was sent away. The time is that until the last is there. */
static void come_back(int number, double seconds) {
    long long start = now(), end = start + seconds * 1e9, time = start;
    double before = cpu();
    begin();
    came = start;
    for (int i = 0; i < number; i++) readers[i].due = start + readers[i].retry * 1000000LL;
    for (; time < end && (opened < number || time - came < 300000000); time = now()) {
        for (int i = 0; i < number; i++) {
            struct reader *r = readers + i;
            if (r->state == REFUSED) {
                r->state = CLOSED;
                r->due = time + r->retry * 1000000LL;
                again++;
            }
            if (r->state == CLOSED && r->due <= time) ask(i);
        }
        step(5);
    }
    refused = number - opened, dropped = 0;
    tell(start + (now() - came), before, 0);
}

/* Hear what another loader publishes: so many events on each channel. */
static void listen_to(int messages, double seconds) {
    long long start = now(), end = start + seconds * 1e9;
    double before = cpu();
    begin();
    expected = (long long)messages * (opened - paused) * set.per;
    while (events + lost < expected && now() < end) step(10);
    tell(start, before, 0);
}

/* Publish until each reader has heard something: from then on nothing may be missing. */
static void warm(double seconds) {
    long long start = now(), end = start + seconds * 1e9, next = start;
    double before = cpu();
    begin();
    int rounds = 0;
    while (now() < end && (heard < opened + asking || busy() || !rounds)) {
        if (now() >= next && !busy()) {
            for (int i = 0; i < set.channels && now() < end; i += set.batch)
                while (!say() && now() < end) step(10);
            next = now() + 300000000;
            rounds++;
        }
        step(10);
    }
    /* What others have heard meanwhile is still on its way. */
    for (long long quiet = now(), seen = events; now() - quiet < 300000000; step(20))
        if (seen != events) seen = events, quiet = now();
    expected = events;
    tell(start, before, rounds);
}

/* Publish, with `window` events under way at most and `rate` a second if that is not 0,
   for some seconds or `most` events, and wait until all has arrived. */
static void burst(int window, double rate, double seconds, int most) {
    long long start = now(), end = start + seconds * 1e9, moved = start, seen = -1;
    double before = cpu();
    int messages = 0;
    begin();
    for (;;) {
        long long time = now();
        int over = time >= end || messages >= most;
        if (over && events + lost >= expected && !busy()) break;
        if (seen != events) seen = events, moved = time;
        if (time - moved > 3000000000 && (over || events + lost < expected)) break;
        while (!over && expected - events - lost <= (window - set.batch) * audience()
               && (!rate || (now() - start) / 1e9 * rate >= messages) && messages < most && say())
            messages += set.batch;
        step(over || expected > events + lost || busy() ? 100 : 1);
    }
    tell(start, before, messages);
}

/* Wait until those who were paused have all that was said, in order. */
static void catch_up(double seconds) {
    long long start = now(), end = start + seconds * 1e9;
    double before = cpu();
    begin();
    for (int i = 0; i < count; i++) {
        if (!readers[i].paused) continue;
        readers[i].paused = 0;
        paused--;
        if (readers[i].state != OPEN) continue;
        count_in(readers + i, 1);
        watch(readers[i].fd, EPOLLIN, EPOLL_CTL_ADD, i);
    }
    int behind = 1;
    while (behind && now() < end) {
        step(10);
        behind = 0;
        for (int i = 0; i < count; i++)
            for (int j = 0; j < set.per && readers[i].state == OPEN; j++) {
                int channel = (readers[i].first + j) % set.channels;
                if (readers[i].last[j] && readers[i].last[j] < sent[channel])
                    behind += sent[channel] - readers[i].last[j];
            }
    }
    expected = events + lost + behind;
    tell(start, before, 0);
}

static void pause_some(int number) {
    long long start = now();
    begin();
    for (int i = 1; i <= number && i < count; i++)
        if (readers[i].state == OPEN && !readers[i].paused) {
            readers[i].paused = 1;
            paused++;
            count_in(readers + i, -1);
            watch(readers[i].fd, 0, EPOLL_CTL_DEL, 0);
        }
    tell(start, cpu(), 0);
}

static void leave(void) {
    long long start = now();
    begin();
    for (int i = 0; i < count; i++) {
        if (readers[i].state == OPEN || readers[i].state == ASKED) close(readers[i].fd);
        readers[i].state = CLOSED;
    }
    /* Those who come back say where they all were, not where the first of them is now. */
    memcpy(last_id, latest_id, sizeof last_id);
    opened = asking = 0;
    memset(listening, 0, set.channels * sizeof *listening);
    tell(start, cpu(), 0);
}

/* Whether another command waits. */
static int told(void) {
    struct pollfd input = {.fd = 0, .events = POLLIN};
    return poll(&input, 1, 0);
}

/* Hear the server end all streams. */
static void lose(double seconds) {
    long long end = now() + seconds * 1e9;
    begin();
    while (opened && now() < end) step(10);
    leave();
}

/* Plain requests, each on a connection of its own, which the server closes: so many at
   once, or so many a second if that is not 0, each of them counted from when it is due.
   It ends before its time if there is another command. */
static void requests(int number, int most, double seconds, double rate) {
    struct flight { int fd, got; long long since; } *flights = calloc(most, sizeof *flights);
    static char request[BUFFER];
    int size = fill(request, set.request, 0, 1, ""), begun = 0, done = 0;
    long long start = now(), end = start + seconds * 1e9;
    double before = cpu();
    struct epoll_event found[256];
    int own = epoll_create1(EPOLL_CLOEXEC);
    begin();
    while (done < number && now() < end) {
        /* What has begun comes to its end. */
        if (rate && begun < number && told()) number = begun;
        for (int i = 0; i < most && begun < number; i++) {
            long long due = rate ? start + begun / rate * 1e9 : now();
            if (flights[i].fd) continue;
            if (due > now()) break;
            flights[i].fd = connect_to(set.port, begun++);
            flights[i].since = due;
            flights[i].got = 0;
            struct epoll_event e = {.events = EPOLLOUT, .data.u32 = i};
            epoll_ctl(own, EPOLL_CTL_ADD, flights[i].fd, &e);
        }
        int n = epoll_wait(own, found, 256, rate ? 1 : 100);
        for (int j = 0; j < n; j++) {
            struct flight *f = flights + found[j].data.u32;
            if (found[j].events == EPOLLOUT) {
                struct epoll_event e = {.events = EPOLLIN, .data.u32 = found[j].data.u32};
                if (write(f->fd, request, size) == size) {
                    epoll_ctl(own, EPOLL_CTL_MOD, f->fd, &e);
                    continue;
                }
            }
            ssize_t got = read(f->fd, buffer, BUFFER);
            if (got > 0) {
                if (!f->got && memcmp(buffer + 8, " 20", 3)) refused++;
                bytes += got, f->got += got;
                continue;
            }
            if (!f->got) refused++;
            close(f->fd);
            f->fd = 0;
            sample(now() - f->since);
            done++, events++;
        }
    }
    for (int i = 0; i < most; i++)
        if (flights[i].fd) close(flights[i].fd);
    close(own);
    free(flights);
    expected = number;
    tell(start, before, done);
}

int main(int argc, char **argv) {
    if (argc != 13) {
        fprintf(stderr, "load PORT REQUEST JOIN PUBLISH_PORT PUBLISH REPLY"
                        " READERS CHANNELS PER_READER SIZE PUBLISHERS BATCH\n");
        return 2;
    }
    set.port = atoi(argv[1]), set.request = argv[2], set.join = argv[3];
    set.publish_port = atoi(argv[4]), set.publish = argv[5], set.reply = argv[6];
    count = atoi(argv[7]), set.channels = atoi(argv[8]), set.per = atoi(argv[9]);
    set.size = atoi(argv[10]), set.publishers = atoi(argv[11]);
    set.batch = atoi(argv[12]);
    if (set.size < RECORD || set.size > 65536 || set.publishers > PUBLISHERS
        || set.batch < 1 || set.batch * (set.size + 7) > BUFFER / 2
        || set.channels < 1 || set.channels > 9999 || set.per < 1 || set.per > set.channels)
        return 2;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    poller = epoll_create1(EPOLL_CLOEXEC);
    readers = calloc(count + 1, sizeof *readers);
    sent = calloc(set.channels, sizeof *sent);
    listening = calloc(set.channels, sizeof *listening);
    int *numbers = calloc((size_t)(count + 1) * set.per, sizeof *numbers);
    for (int i = 0; i < count; i++) {
        /* Few readers are spread over all channels, and many are dealt out in turn. */
        readers[i].first = count < set.channels ? i * set.channels / count : i % set.channels;
        /* Browsers come back after about so long if they are not told. */
        readers[i].retry = 3000;
        readers[i].last = numbers + (size_t)i * set.per;
    }
    char line[200];
    /* What waits is where `told` looks for it. */
    setvbuf(stdin, NULL, _IONBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        int number = 0, most = 0;
        double rate = 0, seconds = 0;
        if (sscanf(line, "come %d %d %lf", &number, &most, &seconds) == 3)
            come(number < count ? number : count, most, seconds);
        else if (sscanf(line, "warm %lf", &seconds) == 1) warm(seconds);
        else if (sscanf(line, "burst %d %lf %lf %d", &number, &rate, &seconds, &most) == 4)
            burst(number, rate, seconds, most);
        else if (sscanf(line, "pause %d", &number) == 1) pause_some(number);
        else if (sscanf(line, "catch_up %lf", &seconds) == 1) catch_up(seconds);
        else if (!strcmp(line, "leave\n")) leave();
        else if (sscanf(line, "lose %lf", &seconds) == 1) lose(seconds);
        else if (sscanf(line, "come_back %d %lf", &number, &seconds) == 2)
            come_back(number < count ? number : count, seconds);
        else if (sscanf(line, "listen %d %lf", &number, &seconds) == 2)
            listen_to(number, seconds);
        else if (sscanf(line, "requests %d %d %lf %lf", &number, &most, &seconds, &rate) >= 3)
            requests(number, most, seconds, rate);
        else if (!strcmp(line, "stop\n")) continue;
        else return 2;
    }
    return 0;
}
