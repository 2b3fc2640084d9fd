// The program.
#include "commands.h"

int main(int argc, char** argv) {
  return ram::cli::run_process(ram::cli::program(), argc, argv);
}
