"""Toxiproxy's dialect: its routes, fields, texts and quirks, on our rules."""
