"""What can be wrong in a trace, a few kinds of problems a file; `first` looks for all of them, going backwards."""
