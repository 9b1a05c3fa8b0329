"""What happened, as frozen values, and who is told. Nothing here imports anything else of ours."""
