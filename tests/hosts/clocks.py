"""A host whose clocks can be moved: a small library that every program of it loads first, and a file that steers it.

Wall clock and running clocks (CLOCK_MONOTONIC, CLOCK_BOOTTIME) each get an offset, at once and for all programs that
use the C library and are not root's; Go's do not, so etcd keeps the true time. Waits for a moment of a clock are
moved with it, a timerfd becomes a thread that asks the moved clock, so a host that is stopped and whose running
clocks are put back by as long has slept as a virtual machine that its hypervisor paused. May import `lab`, `shell`.
Needs a C compiler.
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

from tests.hosts.lab import Lab
from tests.hosts.shell import must

FOLDER = "/var/lib/moved-clocks"
SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *moved; /* nanoseconds: wall clock, running clocks */
static const int64_t none[2];

/* root's programs, the host's own systemd among them, keep the true time (asked once a program) */
static int is_true(void) {
    static int known = -1;
    if (known < 0) known = geteuid() == 0;
    return known;
}
static int64_t offset(clockid_t c) {
    if (is_true()) return 0;
    if (!moved) {
        int fd = open("/var/lib/moved-clocks/offsets", O_RDONLY | O_CLOEXEC);
        void *at = fd < 0 ? MAP_FAILED : mmap(0, 16, PROT_READ, MAP_SHARED, fd, 0);
        if (fd >= 0) close(fd);
        moved = at == MAP_FAILED ? (volatile int64_t *)none : (volatile int64_t *)at;
    }
    if (c == CLOCK_REALTIME || c == CLOCK_REALTIME_COARSE) return moved[0];
    if (c == CLOCK_MONOTONIC || c == CLOCK_BOOTTIME || c == CLOCK_MONOTONIC_RAW || c == CLOCK_MONOTONIC_COARSE)
        return moved[1];
    return 0;
}
static struct timespec plus(struct timespec t, int64_t by) {
    int64_t all = t.tv_sec * 1000000000LL + t.tv_nsec + by;
    if (all < 0) all = 0;
    return (struct timespec){all / 1000000000LL, all % 1000000000LL};
}
int clock_gettime(clockid_t c, struct timespec *t) {
    int e = syscall(SYS_clock_gettime, c, t);
    if (!e) *t = plus(*t, offset(c));
    return e;
}
int gettimeofday(struct timeval *t, void *z) {
    struct timespec s;
    (void)z;
    clock_gettime(CLOCK_REALTIME, &s);
    t->tv_sec = s.tv_sec;
    t->tv_usec = s.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *t) {
    struct timespec s;
    clock_gettime(CLOCK_REALTIME, &s);
    if (t) *t = s.tv_sec;
    return s.tv_sec;
}
int clock_nanosleep(clockid_t c, int flags, const struct timespec *t, struct timespec *left) {
    static int (*real)(clockid_t, int, const struct timespec *, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_nanosleep");
    struct timespec s = flags & TIMER_ABSTIME ? plus(*t, -offset(c)) : *t;
    return real(c, flags, &s, left);
}
int sem_clockwait(sem_t *m, clockid_t c, const struct timespec *t) {
    static int (*real)(sem_t *, clockid_t, const struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "sem_clockwait");
    struct timespec s = plus(*t, -offset(c));
    return real(m, c, &s);
}
int pthread_cond_clockwait(pthread_cond_t *v, pthread_mutex_t *m, clockid_t c, const struct timespec *t) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "pthread_cond_clockwait");
    struct timespec s = plus(*t, -offset(c));
    return real(v, m, c, &s);
}
int pthread_cond_timedwait(pthread_cond_t *v, pthread_mutex_t *m, const struct timespec *t) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    /* which clock it is by, only the condition knows; a running clock is far below the wall clock's seconds */
    struct timespec s = plus(*t, -offset(t->tv_sec > 1000000000 ? CLOCK_REALTIME : CLOCK_MONOTONIC));
    return real(v, m, &s);
}

/* a timerfd: an eventfd, and a thread that looks at the moved clock */
struct timer { int fd; clockid_t clock; volatile int64_t at; };
static struct timer timers[64];
static volatile int how_many;

static int64_t now(clockid_t c) {
    struct timespec t;
    clock_gettime(c, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}
static void *tick(void *it) {
    struct timer *t = it;
    for (;;) {
        struct timespec pause = {0, 2000000};
        syscall(SYS_nanosleep, &pause, 0);
        int64_t at = t->at;
        if (at && now(t->clock) >= at && __sync_bool_compare_and_swap(&t->at, at, 0)) {
            uint64_t one = 1;
            if (write(t->fd, &one, 8) != 8) return 0;
        }
    }
}
int timerfd_create(clockid_t c, int flags) {
    static int (*real)(clockid_t, int);
    if (!real) real = dlsym(RTLD_NEXT, "timerfd_create");
    if (is_true()) return real(c, flags);
    int fd = eventfd(0, (flags & TFD_NONBLOCK ? EFD_NONBLOCK : 0) | (flags & TFD_CLOEXEC ? EFD_CLOEXEC : 0));
    if (fd < 0 || how_many == 64) return -1;
    struct timer *t = &timers[how_many++];
    pthread_t thread;
    t->fd = fd, t->clock = c, t->at = 0;
    if (pthread_create(&thread, 0, tick, t)) return -1;
    pthread_detach(thread);
    return fd;
}
int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old) {
    static int (*real)(int, int, const struct itimerspec *, struct itimerspec *);
    if (!real) real = dlsym(RTLD_NEXT, "timerfd_settime");
    if (is_true()) return real(fd, flags, new, old);
    for (int i = 0; i < how_many; i++)
        if (timers[i].fd == fd) {
            uint64_t seen;
            if (new->it_value.tv_sec > 4000000000LL) return 0; /* never */
            int64_t at = new->it_value.tv_sec * 1000000000LL + new->it_value.tv_nsec;
            timers[i].at = 0;
            int was = fcntl(fd, F_GETFL);
            fcntl(fd, F_SETFL, was | O_NONBLOCK);
            if (read(fd, &seen, 8) < 0) seen = 0;
            fcntl(fd, F_SETFL, was);
            timers[i].at = at && !(flags & TFD_TIMER_ABSTIME) ? now(timers[i].clock) + at : at;
            return 0;
        }
    return -1;
}
"""


def why_not() -> str:
    """Why clocks can't be moved here; "" when they can."""
    return "" if shutil.which("cc") else "moved clocks need a C compiler"


class Clocks:
    """A host's clocks. Its programs are started anew for it: the host is switched off and on once."""

    def __init__(self, lab: Lab, node: str) -> None:
        host = lab.host(node)
        lab.power_off(node)
        host.mount()
        folder = host.disk / FOLDER.lstrip("/")
        folder.mkdir(mode=0o755)
        self._offsets = folder / "offsets"
        self._offsets.write_bytes(bytes(16))
        self._offsets.chmod(0o644)
        source, made = lab.place / "moved-clocks.c", folder / "moved-clocks.so"
        source.write_text(SOURCE)
        must(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", made, source, "-ldl", "-lpthread"])
        self._preload = host.disk / "etc/ld.so.preload"
        self._preload.write_text(f"{FOLDER}/moved-clocks.so\n")
        self._wall_s = self._running_s = 0.0
        lab.boot(node)

    def move(self, *, wall_s: float = 0.0, running_s: float = 0.0) -> None:
        """Both offsets, from the true time, for all programs at once (one page, written in place)."""
        self._wall_s, self._running_s = wall_s, running_s
        with self._offsets.open("r+b", buffering=0) as file:
            file.write(struct.pack("<qq", int(wall_s * 1e9), int(running_s * 1e9)))


def remove(lab: Lab, node: str) -> None:
    """The host's clocks are true again after a restart."""
    host = lab.host(node)
    lab.power_off(node)
    host.mount()
    (host.disk / "etc/ld.so.preload").unlink(missing_ok=True)
    must(["rm", "-rf", Path(host.disk / FOLDER.lstrip("/"))])
    lab.boot(node)
