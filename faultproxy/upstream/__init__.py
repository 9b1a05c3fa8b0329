"""Reaching the server: its name resolved, its addresses tried in order."""
