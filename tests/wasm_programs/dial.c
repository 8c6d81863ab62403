/* Opens each path that it is given, sends a line, and prints the path with the line that comes back, or with what failed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *name_of(int error) {
    switch (error) {
    case EACCES: return "EACCES";
    case ECONNREFUSED: return "ECONNREFUSED";
    case EHOSTUNREACH: return "EHOSTUNREACH";
    case ENFILE: return "ENFILE";
    case EPROTO: return "EPROTO";
    case ENOENT: return "ENOENT";
    case ENOTCAPABLE: return "ENOTCAPABLE";
    default: return strerror(error);
    }
}

static const char *ask(const char *path, char *line, size_t room) {
    int fd = open(path, O_RDWR);
    if (fd < 0)
        return name_of(errno);
    if (write(fd, "hello\n", 6) != 6)
        return name_of(errno);
    size_t used = 0;
    while (used + 1 < room && read(fd, line + used, 1) == 1 && line[used] != '\n')
        used++;
    line[used] = 0;
    close(fd);
    return line;
}

int main(int count, char **paths) {
    for (int i = 1; i < count; i++) {
        char line[100];
        printf("%s %s\n", paths[i], ask(paths[i], line, sizeof line));
    }
    return 0;
}
