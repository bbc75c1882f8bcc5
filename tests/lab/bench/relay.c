/*
 * SPDX-FileCopyrightText: the libvirt-vepa authors
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The least that a process between a client and a daemon can cost: it polls, reads and writes, and looks at nothing.
 * `make bench` compares the connection with it.
 *
 *     relay DAEMON    the listening socket is descriptor 3, as systemd passes it on; DAEMON is the path of the daemon's
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* As much at once as the connection reads (CHUNK in libvirt_vepa/proxy/endpoint.py). */
#define CHUNK (96 * 1024)

/* What goes one way: read, and not yet written. */
struct way {
    int from, to;
    size_t begin, end;
    char data[CHUNK];
};

/* Read, if all that was read is written, and write as much as is taken at once; tell whether this goes on. */
static int move(struct way *way)
{
    ssize_t count;

    if (way->begin == way->end) {
        count = read(way->from, way->data, CHUNK);
        if (count <= 0)
            return count < 0 && errno == EAGAIN;
        way->begin = 0;
        way->end = count;
    }
    count = write(way->to, way->data + way->begin, way->end - way->begin);
    if (count < 0)
        return errno == EAGAIN;
    way->begin += count;
    return 1;
}

static void wait_for(const struct way *way, struct pollfd *what)
{
    int full = way->begin < way->end;

    what->fd = full ? way->to : way->from;
    what->events = full ? POLLOUT : POLLIN;
}

/* Carry everything until one side ends. */
static void carry(int client, int daemon)
{
    static struct way ways[2];
    struct pollfd polls[2];

    ways[0].from = ways[1].to = client;
    ways[0].to = ways[1].from = daemon;
    for (;;) {
        for (int i = 0; i < 2; i++)
            wait_for(&ways[i], &polls[i]);
        if (poll(polls, 2, -1) < 0)
            return;
        for (int i = 0; i < 2; i++)
            if (polls[i].revents && !move(&ways[i]))
                return;
    }
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int daemon = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    return connect(daemon, (struct sockaddr *)&address, sizeof address) ? -1 : daemon;
}

static int serve(int client, const char *path)
{
    int daemon = connect_to(path);

    if (daemon < 0)
        return 1;
    fcntl(client, F_SETFL, O_NONBLOCK);
    fcntl(daemon, F_SETFL, O_NONBLOCK);
    carry(client, daemon);
    return 0;
}

int main(int count, char **words)
{
    int client;

    if (count != 2)
        return 2;
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    while ((client = accept(3, NULL, NULL)) >= 0) {
        if (fork() == 0)
            _exit(serve(client, words[1]));
        close(client);
    }
    return 1;
}
