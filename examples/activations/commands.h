/* commands.h: the subcommands of `activations`, a file or a few each.
   SPDX-License-Identifier: MIT

   argv[0] is the program and the subcommand as one can paste them, "build/activations plot"; what
   follows are the subcommand's own arguments. Each returns the code to exit with. */
#ifndef ACTIVATIONS_COMMANDS_H
#define ACTIVATIONS_COMMANDS_H

int command_list(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_plot(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_table(int argc, char **argv);

#endif
