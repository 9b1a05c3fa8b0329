"""Programs around the proxy: the demo, the doctor, a log replayed, and clients that are led to it."""
