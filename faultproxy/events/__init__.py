"""What happened, as frozen values, and its subscribers. Imports nothing of ours but text."""
