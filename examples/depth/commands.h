/* commands.h: the subcommands of `depth`, a file or a few each.
   SPDX-License-Identifier: MIT

   argv[0] is the program and the subcommand as one can paste them, "build/depth signal"; what follows
   are the subcommand's own arguments. Each returns the code to exit with. */
#ifndef DEPTH_COMMANDS_H
#define DEPTH_COMMANDS_H

int command_signal(int argc, char **argv);
int command_train(int argc, char **argv);
int command_dead(int argc, char **argv);
int command_spectrum(int argc, char **argv);

#endif
