/* arguments.c: command lines with names of activations among the options: as in the program `activations`.
   SPDX-License-Identifier: MIT */
#include "../activations/arguments.c"
