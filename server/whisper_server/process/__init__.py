"""What every process of the server has: log lines, tasks of the event loop, child processes."""
