"""What the processes agree on: messages, formats, configuration, errors, channels; and the `bellframe` command."""
