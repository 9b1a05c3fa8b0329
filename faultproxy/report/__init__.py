"""What the clients did about the faults: attempts, episodes, backoff, storms; judged from a log, or live."""
