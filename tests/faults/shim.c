// Put between a process and its files by LD_PRELOAD; only calls on paths that
// contain $SHIM_PATH count.
//
//   SHIM_KILL_AT=N    kills the process (SIGKILL) just before the N-th call that
//                     would change a file or folder
//   SHIM_FAIL=P       P of 1000 calls fail with EIO, chosen by SHIM_SEED
//   SHIM_LOG=FILE     appends one line a counted call
//
// shim_arm(n) sets the number from within a process and starts to count anew.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long count, kill_at = -1, draws;

long shim_arm(long n) {
  kill_at = n;
  return atomic_exchange(&count, 0);
}

static void __attribute__((constructor)) begin(void) {
  const char *at = getenv("SHIM_KILL_AT");
  if (at) kill_at = atol(at);
}

static int ours(const char *path) {
  const char *part = getenv("SHIM_PATH");
  return part && path && strstr(path, part);
}

static int ours_fd(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  long n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return ours(path);
}

static int fails(void) {
  const char *share = getenv("SHIM_FAIL"), *seed = getenv("SHIM_SEED");
  if (!share) return 0;
  unsigned long x = (seed ? atol(seed) : 0) * 1000003ul + ++draws;
  x ^= x >> 31; x *= 0x9E3779B97F4A7C15ul; x ^= x >> 29;
  x *= 0xBF58476D1CE4E5B9ul; x ^= x >> 32;
  if (x % 1000 >= (unsigned long)atol(share)) return 0;
  errno = EIO;
  return 1;
}

// Whether the call is to fail; may not return.
static int changes(const char *what) {
  long n = ++count;
  const char *log = getenv("SHIM_LOG");
  if (log) {
    char line[128];
    int length = snprintf(line, sizeof line, "%ld %s\n", n, what);
    int fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (fd >= 0) { syscall(SYS_write, fd, line, length); syscall(SYS_close, fd); }
  }
  if (n == kill_at) { kill(getpid(), SIGKILL); pause(); }
  return fails();
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int open_any(const char *what, int dir, const char *path, int flags,
                    mode_t mode) {
  if (ours(path)) {
    if (flags & (O_CREAT | O_TRUNC)) { if (changes(what)) return -1; }
    else if (fails()) return -1;
  }
  return syscall(SYS_openat, dir, path, flags, mode);
}
#define MODE(flags) ({ mode_t m = 0; if ((flags) & (O_CREAT | __O_TMPFILE)) { \
    va_list v; va_start(v, flags); m = va_arg(v, mode_t); va_end(v); } m; })
int open(const char *p, int f, ...) { return open_any("open", AT_FDCWD, p, f, MODE(f)); }
int open64(const char *p, int f, ...) { return open_any("open", AT_FDCWD, p, f | O_LARGEFILE, MODE(f)); }
int openat(int d, const char *p, int f, ...) { return open_any("open", d, p, f, MODE(f)); }
int openat64(int d, const char *p, int f, ...) { return open_any("open", d, p, f | O_LARGEFILE, MODE(f)); }
int creat(const char *p, mode_t m) { return open_any("open", AT_FDCWD, p, O_CREAT | O_WRONLY | O_TRUNC, m); }

#define BY_PATH(type, name, parameters, path, arguments) \
  type name parameters { \
    if (ours(path) && changes(#name)) return -1; \
    return NEXT(name) arguments; }
#define BY_FD(type, name, parameters, arguments) \
  type name parameters { \
    if (ours_fd(fd) && changes(#name)) return -1; \
    return NEXT(name) arguments; }

BY_PATH(int, mkdir, (const char *p, mode_t m), p, (p, m))
BY_PATH(int, mkdirat, (int d, const char *p, mode_t m), p, (d, p, m))
BY_PATH(int, rename, (const char *a, const char *b), b, (a, b))
BY_PATH(int, renameat, (int d, const char *a, int e, const char *b), b, (d, a, e, b))
BY_PATH(int, renameat2, (int d, const char *a, int e, const char *b, unsigned f), b, (d, a, e, b, f))
BY_PATH(int, unlink, (const char *p), p, (p))
BY_PATH(int, rmdir, (const char *p), p, (p))
BY_PATH(int, truncate, (const char *p, off_t n), p, (p, n))
int unlinkat(int d, const char *p, int f) {
  if ((ours(p) || (d != AT_FDCWD && ours_fd(d))) && changes("unlinkat")) return -1;
  return NEXT(unlinkat)(d, p, f);
}
BY_FD(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n))
BY_FD(ssize_t, pwrite, (int fd, const void *b, size_t n, off_t o), (fd, b, n, o))
BY_FD(ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t o), (fd, b, n, o))
BY_FD(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n))
BY_FD(ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t o), (fd, v, n, o))
BY_FD(int, fsync, (int fd), (fd))
BY_FD(int, fdatasync, (int fd), (fd))
BY_FD(int, ftruncate, (int fd, off_t n), (fd, n))
BY_FD(int, ftruncate64, (int fd, off64_t n), (fd, n))
