"""Programs around the proxy: the demo, the doctor, and a log replayed."""
