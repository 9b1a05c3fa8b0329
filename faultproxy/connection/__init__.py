"""One connection's life, from the accepted socket to its last event."""
