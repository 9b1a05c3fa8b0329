"""`faultproxy ctl`: the API from a shell. It knows the API by what it sends and answers, and nothing else of ours."""
