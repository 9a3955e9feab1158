"""The hub: settings in, wired services out; the command line; the read side."""
