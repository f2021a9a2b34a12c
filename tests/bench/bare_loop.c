/* The least that looking each second costs: wakes up each INTERVAL_S, as late as the kernel likes, reads
 * each FILE and throws it away. Ends when killed. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static char buffer[1 << 16];
    int files[64], n_files = 0;
    if (argc < 2 || argc - 2 > 64)
        return 2;
    for (int i = 2; i < argc; i++)
        if ((files[n_files++] = open(argv[i], O_RDONLY)) < 0)
            return 1;
    prctl(PR_SET_TIMERSLACK, 1UL << 24, 0, 0, 0);
    struct timespec interval = {atoi(argv[1]), 0};
    for (;;) {
        nanosleep(&interval, NULL);
        for (int i = 0; i < n_files; i++)
            if (pread(files[i], buffer, sizeof buffer, 0) < 0)
                return 1;
    }
}
