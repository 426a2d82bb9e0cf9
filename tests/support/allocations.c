/*
 * Preloaded into a process: while the number in the file GUARDIAN_TEST_ALLOCATIONS is n > 0, every n-th allocation of a
 * large block in it fails, in whatever thread. Where small ones fail, CPython 3.11 itself ends by a segmentation fault.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);

static const volatile int64_t none;
static const volatile int64_t *each = &none;
static uint64_t calls;

#define LARGE 4096

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("GUARDIAN_TEST_ALLOCATIONS");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED)
        _exit(99);
    close(file);
    each = mapped;
}

static int fails(size_t size)
{
    int64_t n = *each;
    if (n <= 0 || size <= LARGE || __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) % (uint64_t)n != 0)
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size) { return fails(size) ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return fails(count * size) ? NULL : __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { return fails(size) ? NULL : __libc_realloc(old, size); }
