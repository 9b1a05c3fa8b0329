/* A plain client in C; protocol.md says what it reads and prints. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static struct timespec start;

static long elapsed_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000;
}

/* The macro's own name, as errno(3) lists it. */
static const char *name_of(int error)
{
    switch (error) {
    case ECONNREFUSED: return "ECONNREFUSED";
    case ECONNRESET: return "ECONNRESET";
    case EPIPE: return "EPIPE";
    case ECONNABORTED: return "ECONNABORTED";
    case ETIMEDOUT: return "ETIMEDOUT";
    case EHOSTUNREACH: return "EHOSTUNREACH";
    case ENETUNREACH: return "ENETUNREACH";
    case EINPROGRESS: return "EINPROGRESS";
    case EAGAIN: return "EAGAIN";
    default: return "another errno";
    }
}

/* Sends all of it; 0, or -1 with errno. MSG_NOSIGNAL: EPIPE shall be an errno, not the end of the process. */
static int send_all(int fd, const char *data)
{
    size_t left = strlen(data);
    while (left > 0) {
        ssize_t sent = send(fd, data, left, MSG_NOSIGNAL);
        if (sent < 0)
            return -1;
        data += sent;
        left -= sent;
    }
    return 0;
}

/* Reads to the end; 0 at EOF, or -1 with errno. */
static int read_all(int fd)
{
    static unsigned char data[65536];
    char changed[200] = "";
    long received = 0, last_ms = 0;
    int hits = 0;
    ssize_t count;
    while ((count = recv(fd, data, sizeof data, 0)) > 0) {
        last_ms = elapsed_ms();
        if (received == 0)
            printf("first_ms=%ld\t", last_ms);
        for (ssize_t i = 0; i < count; i++, received++)
            if (data[i] != received % 251 && hits < 9)
                sprintf(changed + strlen(changed), "%s%ld", hits++ ? "," : "", received);
    }
    int error = errno;
    printf("bytes=%ld\tchanged=%s\tlast_ms=%ld\t", received, changed, last_ms);
    errno = error;
    return count;
}

static int write_on(int fd, int times)
{
    for (int i = 0; i < times; i++) {
        printf("written=%d\t", i);
        usleep(20000);
        if (send_all(fd, "more\n") < 0)
            return -1;
    }
    return 0;
}

static int take(const char *step, const char *option, int fd, const char *host, int port, const char *request)
{
    if (strcmp(step, "connect") == 0) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
        inet_pton(AF_INET, host, &address.sin_addr);
        return connect(fd, (struct sockaddr *)&address, sizeof address);
    }
    if (strcmp(step, "send") == 0)
        return send_all(fd, request);
    if (strcmp(step, "shut") == 0)
        return shutdown(fd, SHUT_WR);
    if (strcmp(step, "read") == 0)
        return read_all(fd);
    return write_on(fd, atoi(option));
}

static void visit(char *line)
{
    char request[100];
    const char *host = strtok(line, " \n"), *port = strtok(NULL, " \n");
    const char *verb = strtok(NULL, " \n"), *count = strtok(NULL, " \n");
    snprintf(request, sizeof request, "%s %s\n", verb, count);
    clock_gettime(CLOCK_MONOTONIC, &start);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    for (char *step; (step = strtok(NULL, " \n"));) {
        char *option = strchr(step, ':');
        if (option)
            *option++ = '\0';
        if (strcmp(step, "patience") == 0) {
            long ms = atol(option);
            struct timeval patience = {ms / 1000, ms % 1000 * 1000};
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            continue;
        }
        if (take(step, option, fd, host, atoi(port), request) < 0) {
            printf("%s=%s: %s\t", step, name_of(errno), strerror(errno));
            break;
        }
        printf("%s=%s\t", step, strcmp(step, "read") == 0 ? "EOF" : "ok");
    }
    printf("end_ms=%ld\n", elapsed_ms());
    close(fd);
    fflush(stdout);
}

int main(void)
{
    char line[1000];
    while (fgets(line, sizeof line, stdin))
        visit(line);
}
