/* Marks epochs for the carbontracker plugin of Slurm. C99 and POSIX, no library:
 *
 *     ct_epoch_start(); train(); ct_epoch_end();
 *
 * Without a tracker around they do nothing. */
#ifndef CT_EPOCH_H
#define CT_EPOCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* Sends one request and prints the "text" of its reply. */
static void ct_ask(const char *op)
{
    const char *path = getenv("CARBONTRACKER_SOCKET"), *job = getenv("CARBONTRACKER_JOB_ID");
    const struct timeval patience = {.tv_sec = 10};
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char line[65536 + 1], *text;
    size_t len = 0;
    int fd;

    if (!path || !job || strlen(path) >= sizeof to.sun_path)
        return;
    strcpy(to.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    len = (size_t)snprintf(line, sizeof line, "{\"v\":1,\"op\":\"%s\",\"job_id\":%s}\n", op, job);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) || send(fd, line, len, MSG_NOSIGNAL) < 0) {
        close(fd);
        return;
    }
    for (len = 0; len < sizeof line - 1;) {
        ssize_t n = read(fd, line + len, sizeof line - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
        if (memchr(line, '\n', len))
            break;
    }
    close(fd);
    line[len] = 0;
    text = strstr(line, "\"text\":\"");
    for (text = text ? text + 8 : line + len; *text && *text != '"'; text++) {
        if (*text == '\\' && text[1])
            text++, putchar(*text == 'n' ? '\n' : *text == 't' ? '\t' : *text);
        else
            putchar(*text);
    }
    fflush(stdout);
}

static inline void ct_epoch_start(void) { ct_ask("epoch_start"); }
static inline void ct_epoch_end(void) { ct_ask("epoch_end"); }

#endif
