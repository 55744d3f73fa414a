"""The command line: options, messages, exit statuses, and one module a command."""
