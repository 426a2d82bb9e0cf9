/*
 * The floor: reads the files named on standard input (one a line), all of them kept open, each from its beginning, and
 * does nothing with what it has read. Nobody who reads these files can be faster.
 *
 *   floor ROUNDS PAUSE_MS     one line for each round: nanoseconds passed, nanoseconds of CPU
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec at;
    clock_gettime(clock, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

int main(int count, char **arguments)
{
    static char path[4096], content[8192];
    static int files[65536];
    int opened = 0;
    if (count != 3)
        return 2;
    while (opened < 65536 && fgets(path, sizeof path, stdin)) {
        path[strcspn(path, "\n")] = 0;
        files[opened] = open(path, O_RDONLY | O_CLOEXEC);
        if (files[opened] < 0) {
            perror(path);
            return 1;
        }
        opened++;
    }
    long pause_ms = atol(arguments[2]);
    struct timespec pause = {pause_ms / 1000, pause_ms % 1000 * 1000000};
    for (long round = 0; round < atol(arguments[1]); round++) {
        nanosleep(&pause, NULL);
        uint64_t began_ns = clock_ns(CLOCK_MONOTONIC), used_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        for (int each = 0; each < opened; each++)
            if (pread(files[each], content, sizeof content, 0) < 0)
                return 1;
        used_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - used_ns;
        printf("%" PRIu64 " %" PRIu64 "\n", clock_ns(CLOCK_MONOTONIC) - began_ns, used_ns);
    }
    return 0;
}
