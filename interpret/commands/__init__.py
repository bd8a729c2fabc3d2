"""What each command does and prints; `interpret.cli` parses the words and calls these."""
