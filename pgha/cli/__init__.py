"""The commands: load, call, render."""
