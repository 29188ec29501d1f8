"""What can be wrong in a trace, one kind of problem a file; `first` asks for each of them, going backwards."""
