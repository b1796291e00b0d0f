/* What the files of sandbox-init share. sandbox_init.c: the protocol, the step and its life; frames.c: speaking
 * to the runner; outlets.c: what is carried out of the sandbox; proof.c: that nothing else leads out of it. */
#include <poll.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HEADER = 5,
    CHUNK = 64 << 10, /* bytes taken from the step at once */
    PATIENCE = 60000, /* ms without progress that we wait for the runner to read */
    HASTE = 1000,     /* the same once it stopped the step */
    MAX_OUTLETS = 32,
    MAX_STREAMS = 256 /* connections carried at once */
};
enum kind { EXITED, SIGNALLED, TIMED_OUT, NOT_EXECUTED, BAD_MESSAGE, STOPPED, NO_OUTLET, NOT_PROVED };
enum proof { DEVICE = 1, ROUTE, UNANSWERED, ADMITTED }; /* the codes of NOT_PROVED */

/* --- frames.c */
extern unsigned char out_buffer[]; /* HEADER, 4 bytes of stream, CHUNK */
extern size_t out_length;          /* not 0 while a frame is under way */
int64_t now_ms(void);
uint64_t get_number(const unsigned char *bytes, size_t count);
void put_u32(unsigned char *to, uint32_t value);
void unblock(int fd);
void frame(char type, size_t length);
size_t flush_some(void);
int flush_all(int patience);
void finish(enum kind kind, int code, int status);
void refuse(const char *why, int code);
void runner_is_gone(void);
void die_with_everything(int status);

/* --- outlets.c */
void add_outlet(const unsigned char *body, size_t length);
void open_outlets(void);
int proxy_port(void); /* of outlet 0, in network order, where that is the proxy; else 0 */
size_t watch_outlets(struct pollfd *fds);
void heed_outlets(const struct pollfd *fds);
int take_stream_frame(char type, const unsigned char *body, size_t length);
void welcome_all(void);
int move_streams(void);
int streams_unsaid(void);

/* --- proof.c */
void prove_closed(void);
void ask_proxy(int port);
struct pollfd await_proxy(void);
int hear_proxy(short revents); /* 1 once it refused what it must refuse */
