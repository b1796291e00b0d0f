/* The outlets: ports of the sandbox's loopback whose connections are carried out of it.
 *
 * Where the runner's socket stands in the sandbox, the listening sockets themselves are handed to the runner,
 * which accepts from its side: no byte passes through here, and no socket is left that the step could reach.
 * Elsewhere each connection is a stream of frames. A stream has a window each way, so that what nobody takes
 * waits at its own source and holds up nothing else.
 */
#include "init.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    WIDE = 1 << 20,      /* bytes under way of one stream, each way, while there are few, */
    FEW = 8,
    NARROW = 128 << 10,  /* and once there are more: what nobody takes lies in the step's memory */
    BUFFER = 256 << 10,  /* asked of the kernel, so that idle connections cannot pile up its memory */
    BACKLOG = 128,
    SPARE = 24,          /* descriptors for everything else */
    BURST = 4,           /* frames of one stream before the next has its turn */
    PROXY = 3128,
    TAKING = 10000       /* ms for the runner to take the sockets */
};
static const char CARRIER[] = "/.runner/carrier";

static struct outlet {
    int fd;
    struct sockaddr_in place;
} outlets[MAX_OUTLETS];
static size_t outlet_count;
static int by_socket; /* the runner offers its socket */

static struct stream {
    uint32_t id; /* slot, and above it how often the slot was used */
    int fd;      /* the step's connection; 0 while the slot is free */
    unsigned char outlet;
    unsigned char announced, ended;    /* what the runner was told */
    unsigned char finishing, finished; /* the carrier's end was heard of, and passed on */
    unsigned char broken, readable;
    uint32_t window;
    uint32_t credit, owed; /* bytes the runner still takes; bytes the step took that it was not told of */
    unsigned char *queue;  /* what the step does not take yet */
    size_t start, length;
} streams[MAX_STREAMS];
static size_t used, most, live, turn; /* slots ever used, allowed, in use; whose turn it is */

/* --- opening ------------------------------------------------------------------------------------- */
/* u8 1: the runner's socket may be used, u32 address, u16 port */
void add_outlet(const unsigned char *body, size_t length)
{
    if (length != 7 || body[0] > 1 || body[1] != 127 || outlet_count == MAX_OUTLETS)
        refuse("sandbox-init: a malformed outlet\n", EINVAL);
    struct outlet *outlet = &outlets[outlet_count++];
    by_socket = body[0];
    outlet->place.sin_family = AF_INET;
    memcpy(&outlet->place.sin_addr, body + 1, 4);
    memcpy(&outlet->place.sin_port, body + 5, 2);
}

int proxy_port(void)
{
    const struct sockaddr_in *first = &outlets[0].place;
    int is_proxy = outlet_count && first->sin_port == htons(PROXY) &&
                   first->sin_addr.s_addr == htonl(INADDR_LOOPBACK);
    return is_proxy ? first->sin_port : 0;
}

static void listen_at(struct outlet *outlet)
{
    int on = 1, size = BUFFER;
    int fd = outlet->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* whatever still waits to be forgotten */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&outlet->place, sizeof outlet->place) || listen(fd, BACKLOG))
        finish(NO_OUTLET, errno, 125);
}

/* Give the listening sockets to the runner; 0 when its socket cannot be reached from in here. */
static int hand_over(void)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(MAX_OUTLETS * sizeof(int))];
    } control;
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    char byte = (char)outlet_count;
    struct iovec payload = {&byte, 1};
    size_t size = outlet_count * sizeof(int);
    struct msghdr words = {.msg_iov = &payload, .msg_iovlen = 1, .msg_control = &control};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(place.sun_path, CARRIER, sizeof CARRIER);
    if (fd < 0 || connect(fd, (struct sockaddr *)&place, sizeof place)) {
        close(fd);
        return 0;
    }
    memset(&control, 0, sizeof control);
    words.msg_controllen = CMSG_SPACE(size);
    control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(size), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    for (size_t i = 0; i < outlet_count; i++)
        memcpy(CMSG_DATA(&control.head) + i * sizeof(int), &outlets[i].fd, sizeof(int));
    struct pollfd answer = {fd, POLLIN, 0};
    if (sendmsg(fd, &words, MSG_NOSIGNAL) != 1 || poll(&answer, 1, TAKING) != 1 || read(fd, &byte, 1) != 1)
        finish(NO_OUTLET, EPIPE, 125);
    close(fd);
    for (size_t i = 0; i < outlet_count; i++)
        close(outlets[i].fd);
    return 1;
}

void open_outlets(void)
{
    struct rlimit files;
    for (size_t i = 0; i < outlet_count; i++)
        listen_at(&outlets[i]);
    if (outlet_count && by_socket && hand_over())
        outlet_count = 0;
    if (!outlet_count || getrlimit(RLIMIT_NOFILE, &files))
        return;
    size_t taken = SPARE + outlet_count;
    most = files.rlim_cur > taken ? files.rlim_cur - taken : 0; /* so that accept() never lacks a descriptor */
    if (most == 0)
        finish(NO_OUTLET, EMFILE, 125);
    if (most > MAX_STREAMS)
        most = MAX_STREAMS;
}

/* --- one stream ---------------------------------------------------------------------------------- */
static void forget(struct stream *stream)
{
    close(stream->fd);
    free(stream->queue);
    *stream = (struct stream){.id = stream->id + MAX_STREAMS};
    live--;
}

static void abort_stream(struct stream *stream)
{
    struct linger at_once = {1, 0};
    setsockopt(stream->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    forget(stream);
}

static void welcome(unsigned char outlet)
{
    while (live < most) {
        int fd = accept4(outlets[outlet].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        size_t slot = 0;
        if (fd < 0) {
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
                poll(NULL, 0, 1); /* the machine is short of something: no haste */
            return;
        }
        while (streams[slot].fd)
            slot++;
        struct stream *stream = &streams[slot];
        uint32_t id = slot < used ? stream->id : (uint32_t)slot;
        uint32_t window = live < FEW ? WIDE : NARROW;
        *stream = (struct stream){.id = id, .fd = fd, .outlet = outlet, .window = window, .credit = window};
        stream->readable = 1; /* most speak first, and one vain read costs less than one more wait */
        used = slot < used ? used : slot + 1;
        live++;
    }
}

/* Write to the step what it takes now; returns how much. */
static size_t give(struct stream *stream, const unsigned char *bytes, size_t length)
{
    ssize_t n = length ? write(stream->fd, bytes, length) : 0;
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        stream->broken = 1;
    n = n < 0 ? 0 : n;
    stream->owed += (uint32_t)n;
    return (size_t)n;
}

static void give_queued(struct stream *stream)
{
    size_t n = give(stream, stream->queue + stream->start, stream->length);
    stream->start += n;
    stream->length -= n;
    if (!stream->length && stream->finishing && !stream->finished) {
        shutdown(stream->fd, SHUT_WR);
        stream->finished = 1;
    }
}

static void take_data(struct stream *stream, const unsigned char *bytes, size_t length)
{
    size_t n = stream->length ? 0 : give(stream, bytes, length);
    length -= n;
    if (!length || stream->broken)
        return;
    if (!stream->queue)
        stream->queue = malloc(stream->window);
    if (!stream->queue || stream->finishing || stream->length + length > stream->window) {
        stream->broken = 1;
        return;
    }
    if (stream->start) {
        memmove(stream->queue, stream->queue + stream->start, stream->length);
        stream->start = 0;
    }
    memcpy(stream->queue + stream->length, bytes + n, length);
    stream->length += length;
}

/* Obey a frame of a stream; one of a stream that is no more means nothing. Returns 0 for another frame. */
int take_stream_frame(char type, const unsigned char *body, size_t length)
{
    if (!outlet_count || length < 4 || !strchr("dfrc", type))
        return 0;
    uint32_t id = (uint32_t)get_number(body, 4);
    struct stream *stream = &streams[id % MAX_STREAMS];
    if (stream->id != id || !stream->fd || stream->broken)
        return 1;
    if (type == 'd') {
        take_data(stream, body + 4, length - 4);
    } else if (type == 'f') {
        stream->finishing = 1;
        give_queued(stream);
    } else if (type == 'r') {
        abort_stream(stream);
    } else if (length == 8) {
        stream->credit += (uint32_t)get_number(body + 4, 4);
    }
    return 1;
}

/* --- all of them --------------------------------------------------------------------------------- */
static void tell(const struct stream *stream, char type, size_t length)
{
    put_u32(out_buffer + HEADER, stream->id);
    frame(type, 4 + length);
}

static int read_step(struct stream *stream)
{
    size_t size = stream->credit < CHUNK ? stream->credit : CHUNK;
    ssize_t n = read(stream->fd, out_buffer + HEADER + 4, size);
    if (n > 0) {
        stream->readable = (size_t)n == size;
        stream->credit -= (uint32_t)n;
        tell(stream, 'd', (size_t)n);
        return 1;
    }
    stream->readable = 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    stream->ended = 1;
    tell(stream, n < 0 ? 'r' : 'f', 0);
    if (n < 0)
        abort_stream(stream);
    return 1;
}

/* Say the next thing that is due on a stream; 0 when there is none. */
static int speak(struct stream *stream)
{
    if (!stream->announced) {
        stream->announced = 1;
        out_buffer[HEADER + 4] = stream->outlet;
        put_u32(out_buffer + HEADER + 5, stream->window);
        tell(stream, 'o', 5);
    } else if (stream->broken) {
        tell(stream, 'r', 0);
        abort_stream(stream);
    } else if (stream->owed >= stream->window / 4) {
        put_u32(out_buffer + HEADER + 4, stream->owed);
        stream->owed = 0;
        tell(stream, 'c', 4);
    } else if (stream->readable && stream->credit && !stream->ended) {
        return read_step(stream);
    } else if (stream->ended && stream->finished) {
        forget(stream);
        return 0;
    } else {
        return 0;
    }
    return 1;
}

/* Move what the streams have to say to the runner while it takes it; returns 1 for any progress. */
int move_streams(void)
{
    int moved = 0;
    for (size_t n = 0; n < used && !out_length; n++) {
        struct stream *stream = &streams[turn++ % used];
        for (int burst = 0; burst < BURST && stream->fd && !out_length && speak(stream); burst++) {
            flush_some();
            moved = 1;
        }
    }
    return moved;
}

/* Whether a connection that the step has left still has something to say. */
int streams_unsaid(void)
{
    for (size_t i = 0; i < used; i++)
        if (streams[i].fd && !streams[i].ended)
            return 1;
    return 0;
}

size_t watch_outlets(struct pollfd *fds)
{
    for (size_t i = 0; i < outlet_count; i++)
        fds[i] = (struct pollfd){live < most ? outlets[i].fd : -1, POLLIN, 0};
    for (size_t i = 0; outlet_count && i < used; i++) {
        const struct stream *stream = &streams[i];
        int reads = stream->credit && !stream->ended && !out_length;
        int events = (reads ? POLLIN : 0) | (stream->length ? POLLOUT : 0);
        int silent = !stream->fd || (!events && stream->finished); /* a hang-up would only be what we know */
        fds[outlet_count + i] = (struct pollfd){silent ? -1 : stream->fd, (short)events, 0};
    }
    return outlet_count ? outlet_count + used : 0;
}

void heed_outlets(const struct pollfd *fds)
{
    size_t seen = used; /* `fds` knows no others */
    for (size_t i = 0; outlet_count && i < seen; i++) {
        struct stream *stream = &streams[i];
        const struct pollfd *found = &fds[outlet_count + i];
        if (!stream->fd || !found->revents)
            continue;
        if (found->revents & POLLIN)
            stream->readable = 1;
        else if (found->revents & (POLLERR | POLLHUP | POLLNVAL))
            stream->broken = 1;
        if (found->revents & POLLOUT)
            give_queued(stream);
    }
    for (size_t i = 0; i < outlet_count; i++)
        if (fds[i].revents)
            welcome((unsigned char)i);
}

/* Accept what is there, without having been told. */
void welcome_all(void)
{
    for (size_t i = 0; i < outlet_count; i++)
        welcome((unsigned char)i);
}
