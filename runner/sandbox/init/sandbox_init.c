/* sandbox-init: PID 1 of every sandbox. It runs one step and speaks frames with the runner on its stdio.
 * A frame is one byte of type, a big-endian u32 of payload length, and at most 1 MiB of payload.
 *
 *   runner -> init, before the run
 *     'A' one element of argv         'E' "KEY=VALUE"
 *     'S' u8 flags (1: also in the environment), name, NUL, value
 *     'T' u64 deadline, u64 grace: milliseconds, counted from receipt
 *     'L' u8 flags (1: the runner's socket may be used), u32 address, u16 port: listen there; see outlets.c
 *     'R' run now
 *   runner -> init, at any time
 *     'K' u8 signal for the step; TERM starts the grace, KILL ends everything
 *     end of file: the runner is gone; everything dies, status 137
 *   init -> runner
 *     'H' u32 version: waiting        'B' the step began
 *     'O', 'E' bytes of its output    'Z' u8 kind, i32 code: the last frame; see enum kind
 *     'o' u32 stream, u8 outlet, u32 window: the step made a connection
 *   both, of one stream (u32 at the front)
 *     'd' bytes                       'c' u32 more bytes are welcome
 *     'f' no more bytes               'r' it broke: the other side forgets it
 */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    VERSION = 2,
    MAX_PAYLOAD = 1 << 20,
    MAX_STRINGS = 4096,    /* of argv and of the environment, each */
    MAX_MESSAGE = 8 << 20, /* bytes of all of them */
    BURST = 16,            /* chunks moved before the clock is looked at again */
    PIPE_SIZE = 256 << 10,
    OURS = 6,              /* descriptors to wait for beside the outlets' */
    PROVING = 10000        /* ms for the proxy to answer before the step */
};
static const int64_t NEVER = INT64_MAX;

static struct {
    char *argv[MAX_STRINGS + 1], *envp[MAX_STRINGS + 1];
    size_t argc, envc, bytes;
    int complete; /* all of it is here */
} message;

static struct {
    pid_t pid;                /* 0 while parked */
    int output[2];            /* read ends of its stdout and stderr; -1 from their end of file on */
    int readable[2];          /* as far as we know */
    int status, over, killed; /* status as a shell would say it */
    int untold;               /* that it began */
    enum kind kind;
    int64_t deadline, grace, kill_at; /* ms; two points on the boot clock and a duration between */
    int64_t begin_by;                 /* the proxy answers before, or the step never begins */
} step = {.output = {-1, -1}, .deadline = INT64_MAX, .kill_at = INT64_MAX, .begin_by = INT64_MAX};

static unsigned char in_buffer[HEADER + MAX_PAYLOAD]; /* at most one frame that is not whole */
static size_t in_length;
static int signals;

/* --- the step ------------------------------------------------------------------------------------ */
static void become_step(int out, int err, int report)
{
    sigset_t none;
    sigemptyset(&none);
    setsid();
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0 && dup2(null, 0) == 0 && dup2(out, 1) == 1 && dup2(err, 2) == 2 && chdir("/work") == 0) {
        umask(022);
        sigprocmask(SIG_SETMASK, &none, NULL);
        environ = message.envp;
        execvp(message.argv[0], message.argv);
    }
    int why = errno;
    _exit(write(report, &why, sizeof why) == (ssize_t)sizeof why ? 127 : 126);
}

static void begin(void)
{
    int out[2], err[2], report[2], why = 0;
    if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) || pipe2(report, O_CLOEXEC))
        refuse("sandbox-init: cannot make pipes\n", errno);
    fcntl(out[0], F_SETPIPE_SZ, PIPE_SIZE);
    if ((step.pid = fork()) < 0)
        refuse("sandbox-init: cannot fork\n", errno);
    if (step.pid == 0)
        become_step(out[1], err[1], report[1]);
    close(out[1]);
    close(err[1]);
    close(report[1]);
    for (size_t i = 0; i < message.envc; i++)
        memset(message.envp[i], 0, strlen(message.envp[i]));
    if (read(report[0], &why, sizeof why) == (ssize_t)sizeof why)
        finish(NOT_EXECUTED, why, why == ENOENT ? 127 : 126);
    close(report[0]);
    unblock(step.output[0] = out[0]);
    unblock(step.output[1] = err[0]);
    step.begin_by = NEVER;
    step.untold = 1;
}

/* Pass a signal on; TERM starts the grace, KILL needs none. `kind` says why, unless it is known already. */
static void stop(int signal, enum kind kind)
{
    if (!step.pid || (step.over && signal == SIGKILL))
        die_with_everything(step.pid ? step.status : 128 + signal);
    if (step.over || step.killed)
        return;
    if ((signal == SIGTERM || signal == SIGKILL) && step.kind == EXITED)
        step.kind = kind;
    kill(signal == SIGKILL ? -1 : -step.pid, signal);
    step.killed = signal == SIGKILL;
    if (step.killed)
        step.kill_at = NEVER;
    else if (signal == SIGTERM && step.kill_at == NEVER)
        step.kill_at = now_ms() + step.grace;
}

/* --- the message --------------------------------------------------------------------------------- */
static void append(char **list, size_t *count, const unsigned char *bytes, size_t length)
{
    char *text = malloc(length + 1);
    message.bytes += length + 1;
    if (!text || message.bytes > MAX_MESSAGE || *count == MAX_STRINGS)
        refuse("sandbox-init: the message is too long\n", E2BIG);
    memcpy(text, bytes, length);
    text[length] = 0;
    if (strlen(text) != length)
        refuse("sandbox-init: a NUL where text is due\n", EINVAL);
    list[(*count)++] = text;
}

static void write_secret(const char *name, const unsigned char *value, size_t length)
{
    char path[256] = "/run/secrets/";
    int fd = open(strcat(path, name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
    ssize_t n = 0;
    for (; fd >= 0 && length; value += n, length -= (size_t)n)
        if ((n = write(fd, value, length)) <= 0)
            break;
    if (fd < 0 || length || fchmod(fd, 0400) || close(fd))
        refuse("sandbox-init: cannot write a file under /run/secrets\n", errno);
}

static void take_secret(unsigned char *body, size_t length)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    char *name = (char *)body + 1;
    size_t size = length > 1 && memchr(name, 0, length - 1) ? strlen(name) : 0;
    if (size == 0 || size > 200 || body[0] > 1 || name[0] == '.' || strspn(name, allowed) != size)
        refuse("sandbox-init: a malformed secret\n", EINVAL);
    write_secret(name, body + size + 2, length - size - 2);
    name[size] = '='; /* "name=value" now lies there in one piece */
    if (body[0] == 1)
        append(message.envp, &message.envc, body + 1, length - 1);
}

/* Before the step begins: nothing leads out, but for the outlets, and the proxy refuses what it should. */
static void prepare(void)
{
    int port = proxy_port();
    prove_closed();
    open_outlets();
    if (!port) {
        begin();
        return;
    }
    step.begin_by = now_ms() + PROVING;
    ask_proxy(port);
    welcome_all();
}

static void take_frame(char type, unsigned char *body, size_t length)
{
    int parked = !message.complete;
    if (type == 'K' && length == 1 && body[0] && body[0] <= 64) {
        stop(body[0], STOPPED);
    } else if (parked && type == 'A') {
        append(message.argv, &message.argc, body, length);
    } else if (parked && type == 'E' && length && body[0] != '=' && memchr(body, '=', length)) {
        append(message.envp, &message.envc, body, length);
    } else if (parked && type == 'S') {
        take_secret(body, length);
    } else if (parked && type == 'T' && length == 16 && !body[0] && !body[8]) { /* below 2^56: no overflow */
        step.deadline = now_ms() + (int64_t)get_number(body, 8);
        step.grace = (int64_t)get_number(body + 8, 8);
    } else if (parked && type == 'L') {
        add_outlet(body, length);
    } else if (parked && type == 'R' && !length && message.argc) {
        message.complete = 1;
        prepare();
    } else if (parked || !take_stream_frame(type, body, length)) {
        refuse("sandbox-init: a frame that has no meaning here\n", EBADMSG);
    }
}

/* Read once from the runner and obey what is whole. */
static void receive(void)
{
    size_t size, used = 0;
    ssize_t n = read(STDIN_FILENO, in_buffer + in_length, sizeof in_buffer - in_length);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        runner_is_gone();
    in_length += n > 0 ? (size_t)n : 0;
    for (; in_length - used >= HEADER; used += size) {
        unsigned char *start = in_buffer + used;
        size = HEADER + get_number(start + 1, 4);
        if (size > HEADER + MAX_PAYLOAD)
            refuse("sandbox-init: a frame is too long\n", EMSGSIZE);
        if (in_length - used < size)
            break;
        take_frame((char)start[0], start + HEADER, size - HEADER);
        if (!step.pid)
            memset(start, 0, size); /* it may have been a secret */
    }
    in_length -= used;
    memmove(in_buffer, in_buffer + used, in_length);
}

/* --- its life ------------------------------------------------------------------------------------ */
/* Bury the dead. When the step is among them its orphans die too, and so its pipes come to an end. */
static void reap(void)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == step.pid) {
            step.over = 1;
            step.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
            if (step.kind == EXITED && WIFSIGNALED(status))
                step.kind = SIGNALLED;
            kill(-1, SIGKILL);
        }
}

/* Move what the step wrote to the runner, as far as both sides go along; returns 1 for any progress. */
static int move_output(void)
{
    int moved = flush_some() > 0, stream = 0, quiet = 0;
    if (step.untold && !out_length) {
        step.untold = 0;
        frame('B', 0);
        flush_some();
    }
    for (int burst = 0; burst < BURST && quiet < 2 && !out_length; burst++, stream ^= 1) {
        int *fd = &step.output[stream];
        ssize_t n = *fd < 0 || !step.readable[stream] ? -1 : read(*fd, out_buffer + HEADER, CHUNK);
        if (n == 0)
            *fd = -1;
        step.readable[stream] = n == CHUNK;
        quiet = n > 0 ? 0 : quiet + 1;
        moved |= n >= 0; /* an end of file is progress too: nothing else may come to wake us */
        if (n > 0) {
            frame(stream ? 'E' : 'O', (size_t)n);
            flush_some();
        }
    }
    return moved;
}

/* Move what there is, output and streams in turn, so that neither can keep the runner from the other. */
static int move(void)
{
    static int streams_first;
    int moved = flush_some() > 0;
    if (out_length)
        return moved;
    if ((streams_first = !streams_first))
        return moved | move_streams() | move_output();
    return moved | move_output() | move_streams();
}

/* Wait until `until` for the runner, a signal or output; the step waits while the runner is behind. */
static void wait_for_anything(int64_t until)
{
    int64_t left = until == NEVER ? 60000 : until - now_ms();
    struct pollfd fds[OURS + MAX_OUTLETS + MAX_STREAMS] = {
        {STDIN_FILENO, POLLIN, 0},
        {signals, POLLIN, 0},
        {out_length ? STDOUT_FILENO : -1, POLLOUT, 0},
        {out_length ? -1 : step.output[0], POLLIN, 0},
        {out_length ? -1 : step.output[1], POLLIN, 0},
        await_proxy(),
    };
    size_t count = OURS + watch_outlets(fds + OURS);
    poll(fds, count, left < 0 ? 0 : left > 60000 ? 60000 : (int)left);
    if (count > OURS)
        heed_outlets(fds + OURS);
    for (int stream = 0; stream < 2; stream++)
        step.readable[stream] |= fds[3 + stream].revents != 0;
    if (fds[0].revents)
        receive();
    if (fds[5].fd >= 0 && (fds[0].revents || fds[5].revents)) /* its answer may just have come by the wire */
        if (hear_proxy(fds[5].events))
            begin();
    struct signalfd_siginfo info;
    while (fds[1].revents && read(signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            reap();
        else
            stop((int)info.ssi_signo, STOPPED);
    }
}

static int64_t earliest(int64_t one, int64_t other) { return one < other ? one : other; }

static void supervise(void)
{
    while (!step.over) {
        wait_for_anything(earliest(earliest(step.deadline, step.kill_at), step.begin_by));
        if (now_ms() >= step.begin_by)
            finish(NOT_PROVED, UNANSWERED, 125);
        if (now_ms() >= step.deadline) {
            step.deadline = NEVER;
            stop(SIGTERM, TIMED_OUT);
        }
        if (now_ms() >= step.kill_at)
            stop(SIGKILL, STOPPED);
        move();
    }
}

/* What still lies in the pipes belongs to the log, unless the runner no longer reads; what the step said on
 * its connections goes out, unless nobody takes it. */
static void drain(void)
{
    int64_t since = now_ms();
    welcome_all(); /* its last connection may not have been accepted yet */
    for (;;) {
        int logs = out_length || step.output[0] >= 0 || step.output[1] >= 0;
        int64_t until = since + (logs && step.kind <= SIGNALLED ? PATIENCE : HASTE);
        if ((!logs && !streams_unsaid()) || now_ms() >= until)
            return;
        if (move())
            since = now_ms();
        else
            wait_for_anything(until);
    }
}

int main(void)
{
    sigset_t watched;
    if (getpid() != 1)
        _exit(125); /* kill(-1) would reach processes that are not ours */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (syscall(SYS_close_range, 3u, ~0u, 0u)) /* not in gVisor, where each close is slow */
        for (long fd = 3, most = sysconf(_SC_OPEN_MAX); fd < most && fd < 65536; fd++)
            close((int)fd);
    sigfillset(&watched);
    sigprocmask(SIG_BLOCK, &watched, NULL);
    sigdelset(&watched, SIGPIPE); /* blocked only: write() tells */
    signals = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    unblock(STDIN_FILENO);
    unblock(STDOUT_FILENO);
    put_u32(out_buffer + HEADER, VERSION);
    frame('H', 4);
    if (!flush_all(PATIENCE))
        runner_is_gone();
    supervise();
    drain();
    int code = step.kind == SIGNALLED ? step.status - 128 : step.status;
    finish(step.kind, code, step.kind == TIMED_OUT ? 124 : step.status);
}
