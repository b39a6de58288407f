/* Opens many event streams, publishes to them, and checks and counts the events received.

   Each line on standard input is a command, and each line of JSON on standard output the
   answer to one. A server may wrap the data as it likes; the data holds a record with a mark:

       @@<channel, 4 digits>.<number on the channel, 9>.<nanoseconds, 16>xxx...

   so the loader finds lost, repeated and misordered events, and the latency, without
   knowing the server's format. It also publishes, because it alone knows which events have
   arrived: at most `window` events are in flight. Without that bound, some servers queue
   without limit and others drop events. */

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
enum { CLOSED, CONNECTING, OPEN, REFUSED };

struct reader {
    int fd, first;        /* its channels start at `first` */
    char state, paused, heard_from;
    int cut_size;         /* bytes of an incomplete record, in `cut` */
    char cut[RECORD];
    int *last;            /* the last number received, for each of its channels */
    int retry, begun;     /* milliseconds until it reconnects; bytes of this stream */
    long long due;
    char id[48];          /* of its last event, if each reader resumes at its own */
};

struct publisher {
    int fd, busy, size;
    char reply[8192];
};

static struct {
    int port, publish_port, channels, per, size, publishers, batch;
    const char *request, *join, *publish, *reply;
    int own_ids, present; /* see `keep`; how many readers are users who are present */
} options;

static struct reader *readers;
static int count, connecting, opened, heard_from, paused, refused, dropped, retried;
static struct publisher publishers[PUBLISHERS];
static int *sent;         /* events published, by channel */
static int *listening;    /* readers that are open and not paused, by channel */
static int poller, next_channel;
static char buffer[BUFFER + RECORD], latest_id[200], last_id[200], ticket[4096];
static long long expected, events, bytes, reads, lost, disordered, gaps, last_opened;
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

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* A histogram with 32 steps for each doubling, exact to 3 %. */
static void count_latency(long long ns) {
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
    if (fd < 0) fail("socket");
    /* An address has some 28,000 ports. Further readers connect from the next address, and
       each loader has addresses of its own. */
    struct sockaddr_in from = {.sin_family = AF_INET}, to = from;
    from.sin_addr.s_addr = htonl(0x7f000002 + getpid() % 60000 * 256 + number / PORTS);
    to.sin_addr.s_addr = htonl(0x7f000001);
    to.sin_port = htons(port);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(fd, (void *)&from, sizeof from)) fail("bind");
    if (connect(fd, (void *)&to, sizeof to) && errno != EINPROGRESS) fail("connect");
    return fd;
}

static void watch(int fd, uint32_t mask, int operation, uint64_t key) {
    struct epoll_event e = {.events = mask, .data.u64 = key};
    if (epoll_ctl(poller, operation, fd, &e)) fail("epoll_ctl");
}

/* Fill in a template: %C is the channels; %D is the data, in a batch a line with channel
   and data for each event; %I is the position to resume at, and the ticket; %P makes the
   reader a user of its own, who is present on a channel with a few hundred others. */
static int fill_in(char *to, const char *from, int channel, int per, const char *data,
                   const struct reader *r) {
    char *start = to;
    const char *id = r && options.own_ids ? r->id : last_id;
    for (; *from; from++) {
        if (*from != '%' || !strchr("CDIP", from[1])) {
            *to++ = *from;
            continue;
        }
        if (*++from == 'C')
            for (int i = 0; i < per; i++)
                to += sprintf(to, "%sc%04d", i ? options.join : "",
                              (channel + i) % options.channels);
        else if (*from == 'D')
            to = stpcpy(to, data);
        else if (*from == 'P') {
            if (r && r - readers < options.present)
                to += sprintf(to, "&user=u%d-%ld&present=r%d-%ld", getpid(), r - readers,
                              getpid(), (r - readers) / 500);
        } else if (*id)
            to += sprintf(to, "Last-Event-ID: %s\r\n%s", id, ticket);
    }
    return to - start;
}

/* Readers. */

static void check_record(struct reader *r, const char *record, long long when) {
    char field[20] = "";
    int channel = atoi(memcpy(field, record + 2, 4));
    memset(field, 0, sizeof field);
    int number = atoi(memcpy(field, record + 7, 9));
    memset(field, 0, sizeof field);
    long long stamp = atoll(memcpy(field, record + 17, 16));
    int slot = (channel - r->first + options.channels) % options.channels;
    if (slot >= options.per) {
        disordered++;
        return;
    }
    int *last = &r->last[slot];
    if (!r->heard_from) {
        r->heard_from = 1;
        heard_from++;
    }
    if (*last && number <= *last) {
        disordered++;
        return;
    }
    if (*last || options.own_ids) lost += number - *last - 1;
    *last = number;
    events++;
    count_latency(when - stamp);
}

/* Keep the last id, at most 47 bytes. It is the same for all readers at the same position. */
static void keep_id(char *to, const char *from, const char *end) {
    const char *id = NULL, *line = from;
    while ((line = memmem(line, end - line, "id: ", 4))) id = line += 4;
    const char *stop = id ? memchr(id, '\n', end - id) : NULL;
    if (stop && stop - id < (int)sizeof readers->id) {
        memcpy(to, id, stop - id);
        to[stop - id - (stop[-1] == '\r')] = 0;
    }
}

/* Keep the return ticket. It is the same for all readers of the same channels. */
static void keep_ticket(const char *from, const char *end) {
    const char *start = memmem(from, end - from, "push_ticket=", 12);
    const char *stop = start ? memchr(start, ';', end - start) : NULL;
    if (stop && stop - start < (int)sizeof ticket - 20)
        sprintf(ticket, "Cookie: %.*s\r\n", (int)(stop - start), start);
}

/* The server sends `retry` near the start of a stream, or as its last bytes. */
static void keep_retry(struct reader *r, const char *from, const char *end) {
    const char *retry = memmem(from, end - from, "retry: ", 7);
    if (retry) r->retry = atoi(retry + 7);
    r->begun += end - from;
}

/* A reader starts or stops reading its channels: `change` is 1 or -1. */
static void count_listeners(struct reader *r, int change) {
    for (int i = 0; i < options.per; i++) listening[(r->first + i) % options.channels] += change;
}

static void lost_reader(struct reader *r) {
    if (r->state == OPEN) {
        opened--, dropped++;
        if (!r->paused) count_listeners(r, -1);
    }
    else connecting--, refused++;
    r->state = REFUSED;
    close(r->fd);
}

static void receive(struct reader *r) {
    if (r->state == REFUSED) return;
    memcpy(buffer, r->cut, r->cut_size);
    ssize_t n = read(r->fd, buffer + r->cut_size, BUFFER);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) lost_reader(r);
        return;
    }
    long long when = now();
    char *p = buffer, *end = buffer + r->cut_size + n;
    bytes += n, reads++, r->cut_size = 0;
    if (r->state == CONNECTING) {
        if (n < 12 || memcmp(buffer + 8, " 200", 4)) {
            lost_reader(r);
            return;
        }
        r->state = OPEN;
        connecting--, opened++, last_opened = when;
        count_listeners(r, 1);
        if (r == readers) keep_ticket(p, end);
    }
    if (r == readers) keep_id(latest_id, p, end);
    if (options.own_ids) {
        keep_id(r->id, p, end);
        gaps += !!memmem(p, end - p, "push:gap", 8);
    }
    if (r->begun < 1000 || n < 40) keep_retry(r, p, end);
    while ((p = memchr(p, '@', end - p))) {
        if (end - p < RECORD) {
            r->cut_size = end - p;
            memcpy(r->cut, p, r->cut_size);
            return;
        }
        if (p[1] == '@') check_record(r, p, when), p += RECORD;
        else p++;
    }
}

static void open_reader(int i) {
    struct reader *r = readers + i;
    r->fd = connect_to(options.port, i);
    r->state = CONNECTING;
    r->cut_size = r->begun = 0;
    connecting++;
    watch(r->fd, EPOLLOUT, EPOLL_CTL_ADD, i);
}

static void send_request(int i) {
    static char request[BUFFER];
    int size = fill_in(request, options.request, readers[i].first, options.per, "", readers + i);
    if (write(readers[i].fd, request, size) != size) lost_reader(readers + i);
    else watch(readers[i].fd, EPOLLIN, EPOLL_CTL_MOD, i);
}

/* Publishers. */

static int is_complete(struct publisher *p) {
    if (*options.reply == 'l') return p->size && p->reply[p->size - 1] == '\n';
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
    if (n <= 0 || is_complete(p)) p->busy = p->size = 0;
}

/* The number of readers of an event, on average over the channels. */
static long long readers_per_event(void) {
    return (long long)(opened - paused) * options.per / options.channels;
}

static int publish_event(void) {
    static char message[BUFFER], data[BUFFER];
    int channel = next_channel % options.channels;
    struct publisher *p = publishers + channel % options.publishers;
    if (p->busy) return 0;
    if (!p->fd) {
        p->fd = connect_to(options.publish_port, 0);
        watch(p->fd, EPOLLIN, EPOLL_CTL_ADD, UINT32_MAX - (p - publishers));
        struct epoll_event e = {.events = EPOLLOUT};
        int wait = epoll_create1(0);
        epoll_ctl(wait, EPOLL_CTL_ADD, p->fd, &e);
        epoll_wait(wait, &e, 1, 5000);
        close(wait);
    }
    int n = 0;
    for (int i = 0; i < options.batch; i++, channel = ++next_channel % options.channels) {
        if (options.batch > 1) n += sprintf(data + n, "c%04d ", channel);
        int start = n;
        n += sprintf(data + n, "@@%04d.%09d.%016lld", channel, ++sent[channel], now());
        expected += listening[channel];
        memset(data + n, 'x', options.size - (n - start));
        n = start + options.size;
        if (options.batch > 1) data[n++] = '\n';
    }
    data[n] = 0;
    int size = fill_in(message, options.publish, (next_channel - 1) % options.channels, 1, data,
                       NULL);
    for (int done = 0; done < size;) {
        ssize_t written = write(p->fd, message + done, size - done);
        if (written > 0) done += written;
        else if (errno != EAGAIN) fail("publish");
    }
    p->busy = *options.reply != '-';
    return 1;
}

static int busy(void) {
    for (int i = 0; i < options.publishers; i++)
        if (publishers[i].busy) return 1;
    return 0;
}

static void step(int milliseconds) {
    static struct epoll_event found[1024];
    int n = epoll_wait(poller, found, 1024, milliseconds);
    for (int i = 0; i < n; i++) {
        uint64_t key = found[i].data.u64;
        if (key >= (uint64_t)count) replied(publishers + (UINT32_MAX - key));
        else if (found[i].events & EPOLLIN) receive(readers + key);
        else if (found[i].events & EPOLLOUT) send_request(key);
        else lost_reader(readers + key);
    }
}

/* Commands. */

static void reset(void) {
    expected = events = bytes = reads = lost = disordered = gaps = samples = 0;
    refused = dropped = retried = 0;
    memset(histogram, 0, sizeof histogram);
}

static void answer(long long start, double before, int messages) {
    printf("{\"seconds\": %.6f, \"cpu\": %.6f, \"open\": %d, \"refused\": %d, \"dropped\": %d,"
           " \"retried\": %d, \"messages\": %d, \"events\": %lld, \"bytes\": %lld, \"reads\": %lld,"
           " \"lost\": %lld, \"missing\": %lld, \"disordered\": %lld, \"gaps\": %lld,"
           " \"p50\": %.4f, \"p99\": %.4f, \"p999\": %.4f}\n",
           (now() - start) / 1e9, cpu() - before, opened, refused, dropped, retried, messages,
           events, bytes, reads, lost, expected > events + lost ? expected - events - lost : 0,
           disordered, gaps, quantile(.5), quantile(.99), quantile(.999));
    fflush(stdout);
}

/* Connect until `number` readers are open, `most` at a time. */
static void connect_readers(int number, int most, double seconds) {
    long long start = now(), end = start + seconds * 1e9;
    double before = cpu();
    reset();
    int next = 0;
    while (now() < end && (connecting || next < number)) {
        for (; next < number && connecting < most; next++)
            if (readers[next].state == CLOSED) open_reader(next);
        step(10);
    }
    answer(start, before, 0);
}

/* Open a reader again after its `retry`, from the moment at which it was refused. */
static void open_if_due(int i, long long time) {
    struct reader *r = readers + i;
    if (r->state == REFUSED) {
        r->state = CLOSED;
        r->due = time + r->retry * 1000000LL;
        retried++;
    }
    if (r->state == CLOSED && r->due <= time) open_reader(i);
}

/* Reconnect `number` readers as browsers do: each after its `retry`, and once more if it
   is refused. The time in the answer ends when the last reader is open. */
static void reconnect(int number, double seconds) {
    long long start = now(), end = start + seconds * 1e9, time = start;
    double before = cpu();
    reset();
    last_opened = start;
    for (int i = 0; i < number; i++) readers[i].due = start + readers[i].retry * 1000000LL;
    for (; time < end && (opened < number || time - last_opened < 300000000); time = now()) {
        for (int i = 0; i < number; i++) open_if_due(i, time);
        step(5);
    }
    refused = number - opened, dropped = 0;
    answer(start + (now() - last_opened), before, 0);
}

/* Reconnect each reader that loses its stream, as a browser does: after its `retry`, and
   with the id of its own last event. Return when each has received as many events on each
   of its channels, from the first one on. The answer has the number of streams that ended,
   and the time until the last one was open again. */
static void keep(int messages, double seconds) {
    long long start = now(), end = start + seconds * 1e9, time = start, behind = 1;
    double before = cpu();
    reset();
    last_opened = start;
    for (; time < end && behind; time = now()) {
        behind = 0;
        for (int i = 0; i < count; i++) {
            struct reader *r = readers + i;
            open_if_due(i, time);
            if (r->state != OPEN) behind++;
            for (int j = 0; j < options.per; j++) behind += messages - r->last[j];
        }
        for (long long next = now() + 20000000; behind && now() < next;) step(5);
    }
    int ended = dropped;
    refused = dropped = 0;
    expected = events + lost + behind;
    answer(start + (now() - last_opened), before, ended);
}

/* Receive the events that another loader publishes: `messages` on each channel. */
static void receive_published(int messages, double seconds) {
    long long start = now(), end = start + seconds * 1e9;
    double before = cpu();
    reset();
    expected = (long long)messages * (opened - paused) * options.per;
    while (events + lost < expected && now() < end) step(10);
    answer(start, before, 0);
}

/* Publish until each reader has received an event. From then on, none may be missing. */
static void warm(double seconds) {
    long long start = now(), end = start + seconds * 1e9, next = start;
    double before = cpu();
    reset();
    int rounds = 0;
    while (now() < end && (heard_from < opened + connecting || busy() || !rounds)) {
        if (now() >= next && !busy()) {
            for (int i = 0; i < options.channels && now() < end; i += options.batch)
                while (!publish_event() && now() < end) step(10);
            next = now() + 300000000;
            rounds++;
        }
        step(10);
    }
    /* Events for the other readers are still in flight. */
    for (long long quiet = now(), seen = events; now() - quiet < 300000000; step(20))
        if (seen != events) seen = events, quiet = now();
    expected = events;
    answer(start, before, rounds);
}

/* Publish for `seconds` or until `most` events, and wait until all have arrived. At most
   `window` events are in flight; `rate` is the number per second, or 0 for no limit. */
static void publish(int window, double rate, double seconds, int most) {
    long long start = now(), end = start + seconds * 1e9, moved = start, seen = -1;
    double before = cpu();
    int messages = 0;
    reset();
    for (;;) {
        long long time = now();
        int over = time >= end || messages >= most;
        if (over && events + lost >= expected && !busy()) break;
        if (seen != events) seen = events, moved = time;
        if (time - moved > 3000000000 && (over || events + lost < expected)) break;
        while (!over && expected - events - lost <= (window - options.batch) * readers_per_event()
               && (!rate || (now() - start) / 1e9 * rate >= messages) && messages < most
               && publish_event())
            messages += options.batch;
        step(over || expected > events + lost || busy() ? 100 : 1);
    }
    answer(start, before, messages);
}

/* Resume the paused readers, and wait until they have received all events in order. */
static void catch_up(double seconds) {
    long long start = now(), end = start + seconds * 1e9;
    double before = cpu();
    reset();
    for (int i = 0; i < count; i++) {
        if (!readers[i].paused) continue;
        readers[i].paused = 0;
        paused--;
        if (readers[i].state != OPEN) continue;
        count_listeners(readers + i, 1);
        watch(readers[i].fd, EPOLLIN, EPOLL_CTL_ADD, i);
    }
    int behind = 1;
    while (behind && now() < end) {
        step(10);
        behind = 0;
        for (int i = 0; i < count; i++)
            for (int j = 0; j < options.per && readers[i].state == OPEN; j++) {
                int channel = (readers[i].first + j) % options.channels;
                if (readers[i].last[j] && readers[i].last[j] < sent[channel])
                    behind += sent[channel] - readers[i].last[j];
            }
    }
    expected = events + lost + behind;
    answer(start, before, 0);
}

static void pause_readers(int number) {
    long long start = now();
    reset();
    for (int i = 1; i <= number && i < count; i++)
        if (readers[i].state == OPEN && !readers[i].paused) {
            readers[i].paused = 1;
            paused++;
            count_listeners(readers + i, -1);
            watch(readers[i].fd, 0, EPOLL_CTL_DEL, 0);
        }
    answer(start, cpu(), 0);
}

static void disconnect(void) {
    long long start = now();
    reset();
    for (int i = 0; i < count; i++) {
        if (readers[i].state == OPEN || readers[i].state == CONNECTING) close(readers[i].fd);
        readers[i].state = CLOSED;
    }
    /* Readers reconnect with the position at which all stopped. */
    memcpy(last_id, latest_id, sizeof last_id);
    opened = connecting = 0;
    memset(listening, 0, options.channels * sizeof *listening);
    answer(start, cpu(), 0);
}

/* Return whether another command waits. */
static int command_waits(void) {
    struct pollfd input = {.fd = 0, .events = POLLIN};
    return poll(&input, 1, 0);
}

/* Wait until the server has closed all streams. */
static void wait_for_end(double seconds) {
    long long end = now() + seconds * 1e9;
    reset();
    while (opened && now() < end) step(10);
    disconnect();
}

/* Send plain requests, each on its own connection, which the server closes: `most` at a
   time, or `rate` per second if that is not 0. Each is timed from the moment it is due.
   Stop early if another command waits. */
static void requests(int number, int most, double seconds, double rate) {
    struct flight { int fd, got; long long since; } *flights = calloc(most, sizeof *flights);
    static char request[BUFFER];
    int size = fill_in(request, options.request, 0, 1, "", NULL), begun = 0, done = 0;
    long long start = now(), end = start + seconds * 1e9;
    double before = cpu();
    struct epoll_event found[256];
    int own = epoll_create1(EPOLL_CLOEXEC);
    reset();
    while (done < number && now() < end) {
        /* Finish the requests that were sent, and send no more. */
        if (rate && begun < number && command_waits()) number = begun;
        for (int i = 0; i < most && begun < number; i++) {
            long long due = rate ? start + begun / rate * 1e9 : now();
            if (flights[i].fd) continue;
            if (due > now()) break;
            flights[i].fd = connect_to(options.port, begun++);
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
            count_latency(now() - f->since);
            done++, events++;
        }
    }
    for (int i = 0; i < most; i++)
        if (flights[i].fd) close(flights[i].fd);
    close(own);
    free(flights);
    expected = number;
    answer(start, before, done);
}

int main(int argc, char **argv) {
    if (argc != 13 && argc != 14) {
        fprintf(stderr, "load PORT REQUEST JOIN PUBLISH_PORT PUBLISH REPLY"
                        " READERS CHANNELS PER_READER SIZE PUBLISHERS BATCH [PRESENT]\n");
        return 2;
    }
    options.port = atoi(argv[1]), options.request = argv[2], options.join = argv[3];
    options.publish_port = atoi(argv[4]), options.publish = argv[5], options.reply = argv[6];
    count = atoi(argv[7]), options.channels = atoi(argv[8]), options.per = atoi(argv[9]);
    options.size = atoi(argv[10]), options.publishers = atoi(argv[11]);
    options.batch = atoi(argv[12]);
    options.own_ids = argc == 14, options.present = argc == 14 ? atoi(argv[13]) : 0;
    if (options.size < RECORD || options.size > 65536 || options.publishers > PUBLISHERS
        || options.batch < 1 || options.batch * (options.size + 7) > BUFFER / 2
        || options.channels < 1 || options.channels > 9999
        || options.per < 1 || options.per > options.channels)
        return 2;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    poller = epoll_create1(EPOLL_CLOEXEC);
    readers = calloc(count + 1, sizeof *readers);
    sent = calloc(options.channels, sizeof *sent);
    listening = calloc(options.channels, sizeof *listening);
    int *numbers = calloc((size_t)(count + 1) * options.per, sizeof *numbers);
    for (int i = 0; i < count; i++) {
        /* Spread few readers over all channels; deal many out one by one. */
        int first = count < options.channels ? i * options.channels / count : i;
        readers[i].first = first % options.channels;
        /* Browsers reconnect after about this time if the server sends no `retry`. */
        readers[i].retry = 3000;
        readers[i].last = numbers + (size_t)i * options.per;
    }
    char line[200];
    /* Without a buffer, so that `command_waits` sees the next line. */
    setvbuf(stdin, NULL, _IONBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        int number = 0, most = 0;
        double rate = 0, seconds = 0;
        if (sscanf(line, "connect %d %d %lf", &number, &most, &seconds) == 3)
            connect_readers(number < count ? number : count, most, seconds);
        else if (sscanf(line, "warm %lf", &seconds) == 1) warm(seconds);
        else if (sscanf(line, "publish %d %lf %lf %d", &number, &rate, &seconds, &most) == 4)
            publish(number, rate, seconds, most);
        else if (sscanf(line, "pause %d", &number) == 1) pause_readers(number);
        else if (sscanf(line, "catch_up %lf", &seconds) == 1) catch_up(seconds);
        else if (!strcmp(line, "disconnect\n")) disconnect();
        else if (sscanf(line, "wait_for_end %lf", &seconds) == 1) wait_for_end(seconds);
        else if (sscanf(line, "reconnect %d %lf", &number, &seconds) == 2)
            reconnect(number < count ? number : count, seconds);
        else if (sscanf(line, "keep %d %lf", &number, &seconds) == 2) keep(number, seconds);
        else if (sscanf(line, "receive %d %lf", &number, &seconds) == 2)
            receive_published(number, seconds);
        else if (sscanf(line, "requests %d %d %lf %lf", &number, &most, &seconds, &rate) >= 3)
            requests(number, most, seconds, rate);
        else if (!strcmp(line, "stop\n")) continue;
        else return 2;
    }
    return 0;
}
