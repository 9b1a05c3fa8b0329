"""The API over HTTP: what runs can be seen and changed from outside."""
