/* folder.h: folders for what a program writes.
   SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_FOLDER_H
#define EXAMPLES_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

/* Makes the folder, and those it is in, if they are missing. False with errno; `path` is then cut to
   what cannot be made. */
bool folder_make(char *path);

/* Makes a folder and sees whether the file can be written there. NULL, or the path that cannot be made
   or written, for errno's reason; it lies in `path`, which else has the file's path. */
const char *folder_place(const char *folder, const char *file, char *path, size_t size);

#endif
