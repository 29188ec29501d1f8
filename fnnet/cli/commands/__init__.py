"""One module a command: a builder that adds its sub-parser, and the function that the command runs."""
