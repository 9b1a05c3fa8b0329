"""The Linux interfaces that faults and the relay need, one a file. Imports nothing of ours but text."""
