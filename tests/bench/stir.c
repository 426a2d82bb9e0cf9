/*
 * One process in each of many cgroups, so that bare cgroups have something to tell: each line of standard input names the
 * files (cgroup.procs, separated by spaces) into which one process writes itself. Each then wakes once a second, uses a
 * little CPU, and holds 64 KiB more or less than before. They end with their parent.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define EXTRA 65536

static void join(char *files)
{
    char number[16];
    int length = snprintf(number, sizeof number, "%d", (int)getpid());
    for (char *path = strtok(files, " "); path; path = strtok(NULL, " ")) {
        int file = open(path, O_WRONLY | O_CLOEXEC);
        if (file < 0 || write(file, number, (size_t)length) != length) {
            perror(path);
            _exit(1);
        }
        close(file);
    }
}

static void live(unsigned seed)
{
    char *memory = mmap(NULL, EXTRA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct timespec first = {0, (long)(seed % 1000) * 1000000}, second = {1, 0};
    nanosleep(&first, NULL); /* not all at the same moment */
    for (;;) {
        memset(memory, 1, EXTRA);
        nanosleep(&second, NULL);
        madvise(memory, EXTRA, MADV_DONTNEED);
        nanosleep(&second, NULL);
    }
}

int main(void)
{
    static char line[16384];
    unsigned count = 0;
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        count++;
        pid_t child = fork();
        if (child < 0) {
            perror("fork");
            return 1;
        }
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            join(line);
            live(count * 37);
        }
    }
    printf("%u\n", count);
    fflush(stdout);
    pause();
    return 0;
}
