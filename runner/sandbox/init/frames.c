/* Frames to the runner, and the ends that they may tell of. At most one frame is under way. */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

unsigned char out_buffer[HEADER + 4 + CHUNK];
size_t out_length;
static size_t out_sent;

/* --- small things -------------------------------------------------------------------------------- */
int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

uint64_t get_number(const unsigned char *bytes, size_t count)
{
    uint64_t value = 0;
    while (count--)
        value = value << 8 | *bytes++;
    return value;
}

void put_u32(unsigned char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* Everything in our PID namespace dies; only as PID 1 does that spare the host (see main). */
void die_with_everything(int status)
{
    kill(-1, SIGKILL);
    _exit(status);
}

void runner_is_gone(void) { die_with_everything(128 + SIGKILL); }
void unblock(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

/* --- frames to the runner ------------------------------------------------------------------------ */
/* Declare the `length` bytes at out_buffer + HEADER a frame; what was there must have been sent. */
void frame(char type, size_t length)
{
    out_buffer[0] = (unsigned char)type;
    put_u32(out_buffer + 1, (uint32_t)length);
    out_length = HEADER + length;
    out_sent = 0;
}

/* Write what the runner takes now; returns how many bytes that were. */
size_t flush_some(void)
{
    size_t before = out_sent;
    while (out_sent < out_length) {
        ssize_t n = write(STDOUT_FILENO, out_buffer + out_sent, out_length - out_sent);
        if (n > 0)
            out_sent += (size_t)n;
        else if (n < 0 && errno == EAGAIN)
            return out_sent - before;
        else if (n == 0 || errno != EINTR)
            runner_is_gone();
    }
    out_length = 0;
    return out_sent - before;
}

/* Send the frame, or give up after `patience` ms without progress; returns 1 when it is sent. */
int flush_all(int patience)
{
    struct pollfd runner = {STDOUT_FILENO, POLLOUT, 0};
    for (;;) {
        size_t written = flush_some();
        if (!out_length)
            return 1;
        if (!written && poll(&runner, 1, patience) == 0)
            return 0;
    }
}

void finish(enum kind kind, int code, int status)
{
    int patience = kind > SIGNALLED ? HASTE : PATIENCE;
    if (flush_all(patience)) {
        out_buffer[HEADER] = (unsigned char)kind;
        put_u32(out_buffer + HEADER + 1, (uint32_t)code);
        frame('Z', 5);
        flush_all(patience);
    }
    die_with_everything(status);
}

void refuse(const char *why, int code)
{
    write(STDERR_FILENO, why, strlen(why));
    finish(BAD_MESSAGE, code, 125);
}
