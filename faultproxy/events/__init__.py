"""What happened, as frozen values, and its subscribers. Nothing here imports anything else of ours."""
