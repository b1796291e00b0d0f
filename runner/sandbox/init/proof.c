/* The proof, in this very sandbox and before the step, that it is as closed as it was meant to be. */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const char QUESTION[] = "CONNECT canary.runner.invalid:443 HTTP/1.1\r\n"
                               "Host: canary.runner.invalid:443\r\n\r\n";
static const char ANSWER[] = "HTTP/1.1 403";

static int proxy = -1; /* our own connection to it */
static char heard[sizeof ANSWER - 1];
static size_t asked, heard_length;

static void fail(enum proof proof) { finish(NOT_PROVED, proof, 125); }

/* Nobody but lo may be up. Kernels with tunnels loaded put a device of each kind, down, in every namespace. */
static void prove_no_device(int fd)
{
    static char devices[16384]; /* two lines of heading, then "  name: numbers" */
    int file = open("/proc/self/net/dev", O_RDONLY | O_CLOEXEC);
    size_t length = 0;
    for (ssize_t n; (n = read(file, devices + length, sizeof devices - 1 - length)) > 0;)
        length += (size_t)n;
    close(file);
    if (length == 0 || length == sizeof devices - 1)
        fail(DEVICE);
    for (char *line = devices, *end; (end = strchr(line, '\n')); line = end + 1) {
        struct ifreq device = {0};
        char *name = line + strspn(line, " "), *colon = memchr(line, ':', (size_t)(end - line));
        size_t size = colon ? (size_t)(colon - name) : 0;
        if (!colon || (size == 2 && memcmp(name, "lo", 2) == 0))
            continue;
        if (size >= sizeof device.ifr_name)
            fail(DEVICE);
        memcpy(device.ifr_name, name, size);
        if (ioctl(fd, SIOCGIFFLAGS, &device) || device.ifr_flags & IFF_UP)
            fail(DEVICE);
    }
}

/* A datagram socket that connects sends nothing, but asks the kernel for a route. */
static void prove_no_route(int fd, const void *place, socklen_t size)
{
    static const int no_route[] = {ENETUNREACH, EHOSTUNREACH, ENETDOWN, EADDRNOTAVAIL, EAFNOSUPPORT, EACCES};
    int found = connect(fd, place, size) == 0 ? 0 : errno;
    for (size_t i = 0; i < sizeof no_route / sizeof *no_route; i++)
        if (found == no_route[i])
            return;
    fail(ROUTE);
}

void prove_closed(void)
{
    static const uint32_t outside[] = {0xC0000201 /* 192.0.2.1 */, 0xA9FEA9FE /* 169.254.169.254 */};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 && errno == EAFNOSUPPORT)
        return; /* a kernel without a network */
    prove_no_device(fd);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(443)};
        place.sin_addr.s_addr = htonl(outside[i]);
        prove_no_route(fd, &place, sizeof place);
    }
    close(fd);
    struct sockaddr_in6 place = {.sin6_family = AF_INET6, .sin6_port = htons(443)};
    memcpy(&place.sin6_addr, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16); /* 2001:db8::1 */
    if ((fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)) >= 0) {
        prove_no_route(fd, &place, sizeof place);
        close(fd);
    } else if (errno != EAFNOSUPPORT) {
        fail(ROUTE);
    }
}

/* Ask the proxy for a place that nobody may have; hear_proxy takes the answer. */
void ask_proxy(int port)
{
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = (in_port_t)port};
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    proxy = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (proxy < 0 || (connect(proxy, (struct sockaddr *)&place, sizeof place) && errno != EINPROGRESS))
        fail(UNANSWERED);
    hear_proxy(POLLOUT);
}

struct pollfd await_proxy(void)
{
    return (struct pollfd){proxy, asked < sizeof QUESTION - 1 ? POLLOUT : POLLIN, 0};
}

int hear_proxy(short revents)
{
    char rest[4096];
    if (revents & POLLOUT) {
        ssize_t n = write(proxy, QUESTION + asked, sizeof QUESTION - 1 - asked);
        if (n < 0 && errno != EAGAIN && errno != ENOTCONN)
            fail(UNANSWERED);
        asked += n > 0 ? (size_t)n : 0;
        return 0;
    }
    ssize_t n = read(proxy, heard + heard_length, sizeof heard - heard_length);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0)
        fail(UNANSWERED);
    heard_length += (size_t)n;
    if (heard_length < sizeof heard)
        return 0;
    if (memcmp(heard, ANSWER, sizeof heard) != 0)
        fail(ADMITTED);
    while (read(proxy, rest, sizeof rest) > 0) /* what is left unread would look like a broken connection */
        ;
    close(proxy);
    proxy = -1;
    return 1;
}
