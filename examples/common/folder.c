/* folder.c: folders for what a program writes.
   SPDX-License-Identifier: MIT */
#include "folder.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool folder_make(char *path) {
    for (char *at = path + 1;; at++) {
        const char end = *at;
        if (end != '/' && end != 0) continue;
        *at = 0;
        if (mkdir(path, 0777) != 0 && errno != EEXIST) return false;
        if (end == 0) return true;
        *at = end;
    }
}

const char *folder_place(const char *folder, const char *file, char *path, size_t size) {
    const int length = snprintf(path, size, "%s", folder);
    if (length + strlen(file) + 2 > size) {
        errno = ENAMETOOLONG;
        return folder;
    }
    if (!folder_make(path)) return path;
    snprintf(path + length, size - (size_t)length, "/%s", file);
    /* Opened for appending, what is there stays; a file that this made goes again. */
    FILE *test = fopen(path, "ab");
    if (!test) return path;
    fclose(test);
    struct stat facts;
    if (stat(path, &facts) == 0 && facts.st_size == 0) unlink(path);
    return NULL;
}
