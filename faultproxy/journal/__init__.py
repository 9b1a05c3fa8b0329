"""What happened: log lines and counts. It is told, never asked by the data path, and imports nothing of ours."""
