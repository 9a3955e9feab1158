"""The command line: one file a group of commands, each of them thin."""
