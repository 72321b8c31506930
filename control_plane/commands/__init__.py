"""The commands of `bellframe`, one file each: `add_arguments(parser)` and `run(arguments) -> exit code`."""
