/* A stand-in for Slurm's programs: opens the plugin as they do and calls what it is told to.
 *
 *   host PLUGIN RESULTS WORD...
 *
 * Every line Slurm would log or print, and the result of every call, goes to the file RESULTS:
 * whatever else appears on standard output or error comes from the plugin. Compiled with -DBARE it
 * is a program that has none of Slurm's functions. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct spank_option {
    char *name, *arginfo, *usage;
    int has_arg, val;
    int (*cb)(int, const char *, int);
};

#define MAX 64
static FILE *results;
static char *plugin_args[MAX], *job_env[MAX];
static char *option_text;
static int n_args, n_env, context, array_id;
static uint32_t job_id = 42, step_id, uid, gid, n_tasks = 1;
static struct spank_option option;
static int handle; /* Its address is the handle; the plugin never looks inside. */
static void *given = &handle;
static int is_task;

#ifndef BARE
static void print(const char *kind, const char *format, va_list args)
{
    fprintf(results, "%s ", kind);
    vfprintf(results, format, args);
    fprintf(results, "\n");
    fflush(results);
}
#define LOGGER(name, kind) \
    void name(const char *format, ...) \
    { va_list args; va_start(args, format); print(kind, format, args); va_end(args); }
LOGGER(slurm_info, "info")
LOGGER(slurm_error, "error")
LOGGER(slurm_spank_log, "say")

int spank_context(void) { return context; }

int spank_option_register(void *spank, struct spank_option *o)
{
    option = *o;
    fprintf(results, "register %s has_arg=%d %s\n", o->name, o->has_arg, o->usage);
    return spank != &handle;
}

int spank_option_getopt(void *spank, struct spank_option *o, char **text)
{
    if (spank != &handle) return 3001;
    if (!option_text || strcmp(o->name, "carbontracker")) return 3000;
    *text = strcmp(option_text, "NULL") ? option_text : NULL;
    return 0;
}

int spank_get_item(void *spank, int item, ...)
{
    va_list args;
    va_start(args, item);
    void *to = va_arg(args, void *);
    va_end(args);
    if (spank != &handle) return 3001;
    switch (item) { /* The order of enum spank_item in spank.h. */
    case 0: *(uint32_t *)to = uid; return 0;
    case 1: *(uint32_t *)to = gid; return 0;
    case 2: *(uint32_t *)to = job_id; return 0;
    }
    if (context != 2) return 3001; /* What a prolog gets for everything else. */
    switch (item) {
    case 3: *(uint32_t *)to = step_id; return 0;
    case 4: *(uint32_t *)to = 0; return 0;
    case 5: *(uint32_t *)to = 0; return 0;
    case 6: *(uint32_t *)to = n_tasks; return 0;
    case 8: *(uint16_t *)to = 2; return 0;
    case 11: *(uint32_t *)to = 0; return is_task ? 0 : 3001;
    case 25: *(char **)to = "0-1"; return 0;
    case 26: *(uint64_t *)to = 500; return 0;
    case 29: *(uint32_t *)to = 0; return 0;
    case 30: *(uint32_t *)to = array_id; return 0;
    case 31: *(uint32_t *)to = array_id ? 7 : 0xfffffffe; return 0;
    }
    return 3001;
}

int spank_getenv(void *spank, const char *name, char *buffer, int len)
{
    if (spank != &handle) return 3001;
    size_t n = strlen(name);
    for (int i = 0; i < n_env; i++)
        if (!strncmp(job_env[i], name, n) && job_env[i][n] == '=') {
            if (strlen(job_env[i] + n + 1) >= (size_t)len) return 3009;
            strcpy(buffer, job_env[i] + n + 1);
            return 0;
        }
    return 3007;
}

int spank_setenv(void *spank, const char *name, const char *value, int overwrite)
{
    (void)overwrite;
    if (spank != &handle) return 3001;
    fprintf(results, "setenv %s=%s\n", name, value);
    return 0;
}
#endif

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static int count(const char *directory)
{
    int n = 0;
    DIR *d = opendir(directory);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.') n++;
    if (d) closedir(d);
    return n;
}

/* Listens as another user, which only root can arrange. */
static void listen_as(const char *word)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int ready[2];
    char *end, byte = 0;
    unsigned other = strtoul(word, &end, 10);
    strncpy(address.sun_path, end + 1, sizeof(address.sun_path) - 1);
    if (pipe(ready)) exit(3);
    if (!fork()) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int s = socket(AF_UNIX, SOCK_STREAM, 0);
        if (bind(s, (void *)&address, sizeof(address)) || chmod(address.sun_path, 0777)) _exit(3);
        prctl(PR_SET_DUMPABLE, 1);
        if (setresuid(other, other, other) || listen(s, 5)) _exit(3);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (write(ready[1], &byte, 1) != 1) _exit(3);
        for (;;) pause();
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1) exit(3);
    close(ready[0]);
}

static void call(void *plugin, const char *name)
{
    int (*hook)(void *, int, char **);
    char symbol[100];
    snprintf(symbol, sizeof(symbol), "slurm_spank_%s", name);
    *(void **)&hook = dlsym(plugin, symbol);
    if (!hook) {
        fprintf(results, "hook %s missing\n", name);
        return;
    }
    double start = now_ms();
    int rc = hook(given, n_args, n_args && plugin_args[0] == (char *)-1 ? NULL : plugin_args);
    fprintf(results, "hook %s rc=%d ms=%.0f\n", name, rc, now_ms() - start);
}

/* As slurmstepd does: in a fork, which is to become the task. */
static void call_in_task(void *plugin, const char *name)
{
    int status;
    fflush(results);
    pid_t child = fork();
    if (!child) {
        is_task = 1;
        call(plugin, name);
        fflush(results);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status) exit(4);
}

/* Standard output becomes a file, as a batch job's is. */
static void print_into(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0 || dup2(fd, 1) != 1 || close(fd)) exit(3);
}

static void give_option(const char *text)
{
    int rc = option.cb(option.val, text, context == 2);
    fprintf(results, "option rc=%d\n", rc);
}

int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    results = fopen(argv[2], "we");
    void *plugin = dlopen(argv[1], RTLD_LAZY);
    if (!plugin) {
        fprintf(results, "dlopen %s\n", dlerror());
        return 1;
    }
    for (int i = 3; i < argc; i++) {
        char *word = argv[i], *value = strchr(word, '=');
        size_t n = value ? (size_t)(value++ - word) : strlen(word);
#define IS(name) (n == strlen(name) && !strncmp(word, name, n))
        if (IS("context")) context = atoi(value);
        else if (IS("job")) job_id = strtoul(value, NULL, 0);
        else if (IS("step")) step_id = strtoul(value, NULL, 0);
        else if (IS("uid")) uid = gid = strtoul(value, NULL, 0);
        else if (IS("tasks")) n_tasks = strtoul(value, NULL, 0);
        else if (IS("array")) array_id = atoi(value);
        else if (IS("arg")) plugin_args[n_args++] = value;
        else if (IS("arg-null")) plugin_args[n_args++] = NULL;
        else if (IS("args-null")) { plugin_args[0] = (char *)-1; n_args = 3; }
        else if (IS("args-negative")) n_args = -1;
        else if (IS("env")) job_env[n_env++] = value;
        else if (IS("getopt")) option_text = value;
        else if (IS("option")) give_option(value);
        else if (IS("option-null")) give_option(NULL);
        else if (IS("chdir")) { if (chdir(value)) return 3; }
        else if (IS("ignore-signals")) for (int s = 1; s < 32; s++) signal(s, SIG_IGN);
        else if (IS("unlink")) { if (unlink(value)) return 3; }
        else if (IS("listen")) listen_as(value);
        else if (IS("stdout")) print_into(value);
        else if (IS("null-handle")) given = NULL;
        else if (IS("hook")) call(plugin, value);
        else if (IS("in-task")) call_in_task(plugin, value);
        else if (IS("count"))
            fprintf(results, "count threads=%d fds=%d\n", count("/proc/self/task"),
                    count("/proc/self/fd"));
        else if (IS("symbols"))
            fprintf(results, "symbols %s %s %#x\n", (char *)dlsym(plugin, "plugin_name"),
                    (char *)dlsym(plugin, "plugin_type"),
                    *(unsigned *)dlsym(plugin, "plugin_version"));
        else return 2;
        fflush(results);
    }
    dlclose(plugin);
    fprintf(results, "done\n");
    return fclose(results) != 0;
}
