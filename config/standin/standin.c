/*
 * standin: every service of the reference platform, as one small static program.
 *
 * It holds real memory, burns real CPU and fills a real page cache, by its environment at the start and by orders
 * while it runs. It needs nothing else in its image and may be process 1.
 *
 *   standin                          run
 *   standin health                   exit 0 if the running one answers and says that it is well, else 1
 *   standin ctl ORDER                order the running one, and print its answer
 *
 * Orders:
 *   hold SIZE        hold SIZE of memory; returns once it does
 *   jump SIZE        the same, as fast as the kernel gives it, without waiting
 *   grow SIZE RATE   grow (or shrink at once) to SIZE, at RATE: grow 500MB 8MB/s; does not wait
 *   cpu CORES        burn that many cores
 *   cache SIZE       write a file of SIZE and read it back, which fills the page cache; returns once done
 *   sick, well       what `health` and the HTTP port say from now on
 *   status           one line: health, and held, target, cpu, cached
 *
 * Environment:
 *   STANDIN_MEMORY, STANDIN_CPU, STANDIN_CACHE   what to hold, burn and cache from the start
 *   STANDIN_MEMORY_SCALE, STANDIN_CPU_SCALE      factors for the first two
 *   STANDIN_GROW="at=10s,to=500MB,rate=8MB/s"    one `grow`, so long after the start
 *   STANDIN_HEALTHY_AFTER=3s                     sick until then
 *   STANDIN_STOP=slow:5s | ignore                on SIGTERM; without it, end at once
 *   STANDIN_PORT=8000                            answer HTTP there: 200 while well, 503 while sick
 *   STANDIN_SOCKET, STANDIN_CACHE_FILE           paths, /standin.sock and /standin.cache unless set
 *
 * Growth is stamped: for each 16 MiB a line `touched from=… to=… begin_ns=… end_ns=…` on standard output, in bytes and
 * in nanoseconds of CLOCK_MONOTONIC, which containers share with their host.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
#define SECOND_NS ((uint64_t)1000000000)
#define PAGE ((uint64_t)4096)
#define BLOCK (16 * MIB)         /* one stamp per block */
#define SLICE (4 * MIB)          /* touched between two looks at the socket: a few milliseconds */
#define PACE_MS 20               /* between two steps of a growth with a rate */
#define ADDRESSES (256 * 1024 * MIB) /* reserved address space; costs no memory */
#define PERIOD_NS (SECOND_NS / 10)   /* of the duty cycle */
#define MAX_CORES 64

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("standin: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec at;
    clock_gettime(clock, &at);
    return (uint64_t)at.tv_sec * SECOND_NS + (uint64_t)at.tv_nsec;
}

static uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* CPU time of this thread. */
static uint64_t used_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* --- numbers with units ------------------------------------------------------------------------------------------ */

struct unit {
    const char *name;
    double factor;
};

static const struct unit SIZES[] = {{"", 1}, {"B", 1}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9},
                                    {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {NULL, 0}};
static const struct unit RATES[] = {{"B/s", 1}, {"kB/s", 1e3}, {"MB/s", 1e6}, {"GB/s", 1e9}, {"KiB/s", 1024.0},
                                    {"MiB/s", 1048576.0}, {"GiB/s", 1073741824.0}, {NULL, 0}};
static const struct unit TIMES[] = {{"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {NULL, 0}};
static const struct unit PLAIN[] = {{"", 1}, {NULL, 0}};

static bool parse(const char *text, const struct unit *units, double *value)
{
    char *rest;
    double number = strtod(text, &rest);
    if (rest == text || !(number >= 0) || number > 1e15)
        return false;
    for (; units->name; units++)
        if (strcmp(rest, units->name) == 0) {
            *value = number * units->factor;
            return true;
        }
    return false;
}

static double setting(const char *name, const struct unit *units, double otherwise)
{
    const char *text = getenv(name);
    double value;
    if (!text || !*text)
        return otherwise;
    if (!parse(text, units, &value))
        die("%s: cannot read '%s'", name, text);
    return value;
}

static const char *path_setting(const char *name, const char *otherwise)
{
    const char *text = getenv(name);
    return text && *text ? text : otherwise;
}

/* --- memory ------------------------------------------------------------------------------------------------------ */

static struct {
    char *base;
    uint64_t held, target; /* bytes, whole pages */
    double rate;           /* bytes per second; 0: as fast as the kernel gives them */
    uint64_t grow_from, grow_since_ns;
    uint64_t block_from, block_since_ns; /* of the stamp that is being written */
} memory;

static uint64_t whole_pages(double bytes)
{
    uint64_t pages = (uint64_t)(bytes / (double)PAGE + 0.5);
    return pages * PAGE > ADDRESSES ? ADDRESSES : pages * PAGE;
}

static void memory_reserve(void)
{
    memory.base = mmap(NULL, ADDRESSES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory.base == MAP_FAILED)
        die("cannot reserve address space: %s", strerror(errno));
    madvise(memory.base, ADDRESSES, MADV_NOHUGEPAGE); /* huge pages would hold more than was asked for */
}

static void memory_aim(double bytes, double rate)
{
    memory.target = whole_pages(bytes);
    memory.rate = rate;
    memory.grow_from = memory.block_from = memory.held;
    memory.grow_since_ns = memory.block_since_ns = now_ns();
}

/* Noise, so that neither zram, zswap nor page merging can make the memory smaller than it looks. */
static void touch(uint64_t from, uint64_t to)
{
    static uint64_t noise = 0;
    if (noise == 0)
        noise = now_ns() | 1;
    for (uint64_t *word = (uint64_t *)(memory.base + from); word < (uint64_t *)(memory.base + to); word++) {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        *word = noise;
    }
}

static void stamp(void)
{
    uint64_t end_ns = now_ns();
    printf("touched from=%" PRIu64 " to=%" PRIu64 " begin_ns=%" PRIu64 " end_ns=%" PRIu64 "\n", memory.block_from,
           memory.held, memory.block_since_ns, end_ns);
    memory.block_from = memory.held;
    memory.block_since_ns = end_ns;
}

/* One step towards the target. Returns how many milliseconds the next one may wait, -1 if there is none. */
static int memory_step(void)
{
    if (memory.held > memory.target) {
        madvise(memory.base + memory.target, memory.held - memory.target, MADV_DONTNEED);
        memory.held = memory.target;
    }
    if (memory.held == memory.target)
        return -1;
    uint64_t goal = memory.target;
    if (memory.rate > 0) {
        double due = (double)memory.grow_from + memory.rate * (double)(now_ns() - memory.grow_since_ns) / 1e9;
        if (due < (double)goal)
            goal = whole_pages(due);
    }
    if (goal > memory.held + SLICE)
        goal = memory.held + SLICE;
    uint64_t block_end = (memory.held / BLOCK + 1) * BLOCK;
    if (goal > block_end)
        goal = block_end;
    if (goal <= memory.held)
        return PACE_MS;
    touch(memory.held, goal);
    memory.held = goal;
    if (memory.held == block_end || memory.held == memory.target)
        stamp();
    return memory.held == memory.target ? -1 : 0;
}

/* --- CPU --------------------------------------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what threads share: cores, and the cache's sizes */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static double cores;
static int burners;

static void start_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    int failed = pthread_create(&thread, NULL, run, argument);
    if (failed)
        die("cannot start a thread: %s", strerror(failed));
    pthread_detach(thread);
}

/* Burner n works for its part of every period: all of it for each whole core, the fraction for the last. */
static void *burn(void *argument)
{
    double before_me = (double)(intptr_t)argument;
    for (;;) {
        pthread_mutex_lock(&lock);
        while (cores <= before_me)
            pthread_cond_wait(&changed, &lock);
        double part = cores - before_me;
        pthread_mutex_unlock(&lock);
        uint64_t begin_ns = now_ns();
        uint64_t busy_until_ns = used_ns() + (part >= 1 ? PERIOD_NS : (uint64_t)(part * (double)PERIOD_NS));
        while (used_ns() < busy_until_ns) /* CPU time, not the clock's: others may have the cores meanwhile */
            continue;
        uint64_t end_ns = begin_ns + PERIOD_NS;
        struct timespec until = {(time_t)(end_ns / SECOND_NS), (long)(end_ns % SECOND_NS)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    return NULL;
}

static void cpu_aim(double wanted)
{
    for (; burners < wanted; burners++)
        start_thread(burn, (void *)(intptr_t)burners);
    pthread_mutex_lock(&lock);
    cores = wanted;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* --- page cache -------------------------------------------------------------------------------------------------- */

static const char *cache_file;
static uint64_t cached, cache_target;
static bool cache_running;

/* Written through to the disk, so that the cache is clean and can be dropped; read back twice, so that it is active, which
 * `docker stats` counts as used. */
static void fill_cache(uint64_t size)
{
    static char buffer[MIB];
    unlink(cache_file);
    if (size == 0)
        return;
    int file = open(cache_file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0)
        die("%s: %s", cache_file, strerror(errno));
    for (uint64_t done = 0; done < size;) {
        size_t piece = size - done < MIB ? (size_t)(size - done) : (size_t)MIB;
        memcpy(buffer, &done, sizeof done); /* no two pieces are the same */
        ssize_t wrote = write(file, buffer, piece);
        if (wrote <= 0)
            die("%s: %s", cache_file, strerror(errno));
        done += (uint64_t)wrote;
    }
    if (fsync(file) != 0)
        die("%s: %s", cache_file, strerror(errno));
    for (int reading = 0; reading < 2; reading++) {
        lseek(file, 0, SEEK_SET);
        while (read(file, buffer, sizeof buffer) > 0)
            continue;
    }
    close(file);
}

static void *keep_cache(void *unused)
{
    (void)unused;
    for (;;) {
        pthread_mutex_lock(&lock);
        while (cached == cache_target)
            pthread_cond_wait(&changed, &lock);
        uint64_t wanted = cache_target;
        pthread_mutex_unlock(&lock);
        fill_cache(wanted);
        pthread_mutex_lock(&lock);
        cached = wanted;
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void cache_aim(double bytes)
{
    if (!cache_running) {
        start_thread(keep_cache, NULL);
        cache_running = true;
    }
    pthread_mutex_lock(&lock);
    cache_target = whole_pages(bytes);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* --- signals ----------------------------------------------------------------------------------------------------- */

static struct itimerval slow_stop; /* zero: end at once */

static void end_now(int number)
{
    (void)number;
    _exit(0);
}

static void on_term(int number)
{
    (void)number;
    if (slow_stop.it_value.tv_sec == 0 && slow_stop.it_value.tv_usec == 0)
        _exit(0);
    setitimer(ITIMER_REAL, &slow_stop, NULL); /* ends by SIGALRM */
}

/* Process 1 has no default handlers: without these, SIGTERM would do nothing. */
static void set_signals(void)
{
    const char *stop = path_setting("STANDIN_STOP", "");
    double delay_ns;
    void (*handler)(int) = on_term;
    if (strncmp(stop, "slow:", 5) == 0 && parse(stop + 5, TIMES, &delay_ns)) {
        slow_stop.it_value.tv_sec = (time_t)(delay_ns / 1e9);
        slow_stop.it_value.tv_usec = (suseconds_t)((delay_ns - 1e9 * (double)slow_stop.it_value.tv_sec) / 1e3);
    } else if (strcmp(stop, "ignore") == 0) {
        handler = SIG_IGN;
    } else if (*stop) {
        die("STANDIN_STOP: 'slow:5s' or 'ignore', not '%s'", stop);
    }
    signal(SIGTERM, handler);
    signal(SIGINT, handler);
    signal(SIGALRM, end_now);
    signal(SIGPIPE, SIG_IGN);
}

/* --- orders and answers ------------------------------------------------------------------------------------------ */

static bool sick;
static uint64_t well_from_ns;

static bool is_well(void)
{
    return !sick && now_ns() >= well_from_ns;
}

static void status(char *answer, size_t room)
{
    pthread_mutex_lock(&lock);
    snprintf(answer, room,
             "%s held=%" PRIu64 " target=%" PRIu64 " cpu=%.3f cached=%" PRIu64 " cache_target=%" PRIu64 "\n",
             is_well() ? "well" : "sick", memory.held, memory.target, cores, cached, cache_target);
    pthread_mutex_unlock(&lock);
}

static void obey(char *order, char *answer, size_t room)
{
    char *rest;
    char *verb = strtok_r(order, " \n", &rest);
    char *first = strtok_r(NULL, " \n", &rest);
    char *second = strtok_r(NULL, " \n", &rest);
    double value, rate;
    snprintf(answer, room, "ok\n");
    if (!verb)
        snprintf(answer, room, "error: no order\n");
    else if (strcmp(verb, "status") == 0 && !first)
        status(answer, room);
    else if (strcmp(verb, "sick") == 0 && !first)
        sick = true;
    else if (strcmp(verb, "well") == 0 && !first)
        sick = false, well_from_ns = 0;
    else if ((strcmp(verb, "hold") == 0 || strcmp(verb, "jump") == 0) && first && !second && parse(first, SIZES, &value))
        memory_aim(value, 0);
    else if (strcmp(verb, "grow") == 0 && first && second && parse(first, SIZES, &value) && parse(second, RATES, &rate))
        memory_aim(value, rate);
    else if (strcmp(verb, "cpu") == 0 && first && !second && parse(first, PLAIN, &value) && value <= MAX_CORES)
        cpu_aim(value);
    else if (strcmp(verb, "cache") == 0 && first && !second && parse(first, SIZES, &value))
        cache_aim(value);
    else
        snprintf(answer, room, "error: not an order: %s %s %s\n", verb, first ? first : "", second ? second : "");
}

static void send_all(int to, const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        ssize_t sent = write(to, text, left);
        if (sent <= 0)
            return;
        text += sent;
        left -= (size_t)sent;
    }
}

/* Takes one connection, reads until a line is complete, answers, closes. A silent client costs a fifth of a second. */
static void serve(int listener, bool http)
{
    char order[1024], answer[256];
    size_t length = 0;
    int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0)
        return;
    struct timeval patience = {0, 200000};
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const char *end = http ? "\r\n\r\n" : "\n";
    order[0] = 0;
    while (length < sizeof order - 1 && !strstr(order, end)) {
        ssize_t got = read(client, order + length, sizeof order - 1 - length);
        if (got <= 0)
            break;
        length += (size_t)got;
        order[length] = 0;
    }
    if (http)
        snprintf(answer, sizeof answer, "HTTP/1.0 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                 is_well() ? "200 OK" : "503 Service Unavailable");
    else
        obey(order, answer, sizeof answer);
    send_all(client, answer);
    close(client);
}

static struct sockaddr_un socket_address(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = path_setting("STANDIN_SOCKET", "/standin.sock");
    if (strlen(path) >= sizeof address.sun_path)
        die("STANDIN_SOCKET: longer than %zu characters", sizeof address.sun_path - 1);
    strcpy(address.sun_path, path);
    return address;
}

static int listen_for_orders(void)
{
    struct sockaddr_un address = socket_address();
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(address.sun_path); /* left by a run that was killed */
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16))
        die("%s: %s", address.sun_path, strerror(errno));
    return listener;
}

static int listen_for_http(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = INADDR_ANY};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int yes = 1;
    if (listener >= 0)
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16))
        die("port %d: %s", port, strerror(errno));
    return listener;
}

/* --- the three faces --------------------------------------------------------------------------------------------- */

struct growth {
    double at_ns, to, rate; /* `to` below zero: none */
};

static struct growth growth_setting(void)
{
    struct growth growth = {0, -1, 0};
    char *text = strdup(path_setting("STANDIN_GROW", ""));
    char *rest;
    for (char *part = strtok_r(text, ",", &rest); part; part = strtok_r(NULL, ",", &rest)) {
        bool fine = (strncmp(part, "at=", 3) == 0 && parse(part + 3, TIMES, &growth.at_ns)) ||
                    (strncmp(part, "to=", 3) == 0 && parse(part + 3, SIZES, &growth.to)) ||
                    (strncmp(part, "rate=", 5) == 0 && parse(part + 5, RATES, &growth.rate));
        if (!fine)
            die("STANDIN_GROW: cannot read '%s'; at=10s,to=500MB,rate=8MB/s", part);
    }
    free(text);
    return growth;
}

static _Noreturn void run(void)
{
    uint64_t started_ns = now_ns();
    struct pollfd doors[2];
    nfds_t count = 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    set_signals();
    cache_file = path_setting("STANDIN_CACHE_FILE", "/standin.cache");
    well_from_ns = started_ns + (uint64_t)setting("STANDIN_HEALTHY_AFTER", TIMES, 0);
    struct growth growth = growth_setting();
    double port = setting("STANDIN_PORT", PLAIN, 0);
    double wanted = setting("STANDIN_CPU", PLAIN, 0) * setting("STANDIN_CPU_SCALE", PLAIN, 1);
    if (wanted > MAX_CORES || port > 65535)
        die("at most %d cores and port 65535", MAX_CORES);
    memory_reserve();
    memory_aim(setting("STANDIN_MEMORY", SIZES, 0) * setting("STANDIN_MEMORY_SCALE", PLAIN, 1), 0);
    doors[0] = (struct pollfd){.fd = listen_for_orders(), .events = POLLIN};
    if (port > 0)
        doors[count++] = (struct pollfd){.fd = listen_for_http((uint16_t)port), .events = POLLIN};
    cpu_aim(wanted);
    if (setting("STANDIN_CACHE", SIZES, 0) > 0)
        cache_aim(setting("STANDIN_CACHE", SIZES, 0));
    for (;;) {
        int wait_ms = memory_step();
        if (growth.to >= 0) {
            if ((double)(now_ns() - started_ns) >= growth.at_ns) {
                memory_aim(growth.to, growth.rate);
                growth.to = -1;
                wait_ms = 0;
            } else if (wait_ms < 0) {
                wait_ms = PACE_MS;
            }
        }
        if (poll(doors, count, wait_ms) > 0)
            for (nfds_t door = 0; door < count; door++)
                if (doors[door].revents)
                    serve(doors[door].fd, door == 1);
    }
}

/* Sends one order and reads the answer; false if none came within two seconds. */
static bool ask(const char *order, char *answer, size_t room)
{
    struct sockaddr_un address = socket_address();
    struct timeval patience = {2, 0};
    size_t length = 0;
    ssize_t got;
    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0)
        return false;
    setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(server, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(server, (struct sockaddr *)&address, sizeof address) == 0) {
        send_all(server, order);
        while (length < room - 1 && (got = read(server, answer + length, room - 1 - length)) > 0)
            length += (size_t)got;
    }
    close(server);
    answer[length] = 0;
    return length > 0;
}

static int health(void)
{
    char answer[256] = "";
    bool answered = ask("status\n", answer, sizeof answer);
    fputs(answered ? answer : "no answer\n", stdout);
    return strncmp(answer, "well ", 5) == 0 ? 0 : 1;
}

static bool arrived(const char *answer)
{
    uint64_t have, want, have_cached, want_cached;
    int fields = sscanf(answer, "%*s held=%" SCNu64 " target=%" SCNu64 " cpu=%*f cached=%" SCNu64 " cache_target=%" SCNu64,
                        &have, &want, &have_cached, &want_cached);
    return fields == 4 && have == want && have_cached == want_cached;
}

static int ctl(int count, char **words)
{
    char order[256] = "", answer[256];
    for (int word = 0; word < count; word++) {
        if (strlen(order) + strlen(words[word]) + 2 > sizeof order)
            die("the order is too long");
        strcat(order, words[word]);
        strcat(order, word + 1 < count ? " " : "\n");
    }
    if (!ask(order, answer, sizeof answer)) {
        fputs("standin: the running one does not answer\n", stderr);
        return 1;
    }
    if (strncmp(answer, "error", 5) == 0) {
        fputs(answer, stderr);
        return 2;
    }
    fputs(answer, stdout);
    bool waits = count > 0 && (strcmp(words[0], "hold") == 0 || strcmp(words[0], "cache") == 0);
    for (int silent = 0; waits && silent < 5; usleep(5000)) { /* on a busy host it may not get its turn for seconds */
        if (!ask("status\n", answer, sizeof answer))
            silent++;
        else if (arrived(answer))
            return 0;
        else
            silent = 0;
    }
    return waits;
}

int main(int count, char **words)
{
    if (count == 1)
        run();
    if (count == 2 && strcmp(words[1], "health") == 0)
        return health();
    if (count > 2 && strcmp(words[1], "ctl") == 0)
        return ctl(count - 2, words + 2);
    die("usage: standin | standin health | standin ctl hold|jump|grow|cpu|cache|sick|well|status …");
}
