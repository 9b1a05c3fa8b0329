"""What runs is changed here, and nowhere else: by an edit of the file, from Python, or through the API."""
