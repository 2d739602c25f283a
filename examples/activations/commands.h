/* commands.h: the subcommands of `activations`, a file or a few each (subcommands.h).
   SPDX-License-Identifier: MIT */
#ifndef ACTIVATIONS_COMMANDS_H
#define ACTIVATIONS_COMMANDS_H

int command_list(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_plot(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_table(int argc, char **argv);

#endif
