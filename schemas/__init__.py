"""The words of the hub as values: ids, statuses, programs, commands, events and records. Imports nothing of the project."""
