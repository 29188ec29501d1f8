"""The command line, one builder a command; run directories and their pictures."""
