/* commands.h: the subcommands of `depth`, a file or a few each (subcommands.h).
   SPDX-License-Identifier: MIT */
#ifndef DEPTH_COMMANDS_H
#define DEPTH_COMMANDS_H

int command_signal(int argc, char **argv);
int command_train(int argc, char **argv);
int command_dead(int argc, char **argv);
int command_spectrum(int argc, char **argv);

#endif
